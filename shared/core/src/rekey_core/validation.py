"""What is wrong with a file or a message, in one line for people."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rekey_core.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


def what_is_wrong(error: ValidationError) -> str:
    """The first thing that is wrong: its field and the rule, or the rule alone where the whole breaks it.

    Never the value, which may be a secret. The text of ``error`` quotes it, and so does a traceback that shows ``error``:
    who raises an error of ours in its place says ``from None``.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    field, rule = [str(part) for part in first["loc"]], first["msg"]
    if first["type"] == "union_tag_invalid":  # the one rule of our models whose words quote the value
        field.append(first["ctx"]["discriminator"].strip("'"))
        rule = f"input should be one of {first['ctx']['expected_tags']}"
    if rule[1:2].islower():  # no acronym
        rule = rule[0].lower() + rule[1:]
    return f"{'.'.join(field)}: {rule}" if field else rule


def settings_in(data: bytes, kind: type[M], *, where: str, hint: str | None = None) -> M:
    """The settings in a TOML file that was read from ``where``.

    Raises:
        ConfigurationError: it is not TOML, or not the model; names the field, never a value.
    """
    try:
        return kind.model_validate(tomllib.loads(data.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{where}: {error}", hint=hint) from error
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {what_is_wrong(error)}", hint=hint) from None
