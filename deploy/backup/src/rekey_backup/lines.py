"""A file of messages, one on each line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rekey_core.errors import SchemaError

M = TypeVar("M", bound=BaseModel)


def read_lines(path: Path, kind: type[M], what: str) -> list[M]:
    """Read the file. ``what``: what each line should be, for people.

    Raises:
        SchemaError: it is not text, or a line is none of the kind.
        OSError: there is no such file.
    """
    try:
        return [kind.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        message = f"{path.name}: expected {what} on each line, found what is not text"
        raise SchemaError(message) from error
    except ValidationError as error:
        message = f"{path.name}: expected {what} on each line, found something else"
        raise SchemaError(message) from error
