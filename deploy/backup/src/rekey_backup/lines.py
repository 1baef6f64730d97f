"""Files that somebody goes on with: whole or not there, whenever the program died; of messages, one on each line."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
    except ValidationError:
        message = f"{path.name}: expected {what} on each line, found something else"
        raise SchemaError(message) from None


def write_lines(path: Path, models: Iterable[BaseModel]) -> None:
    """Write the file, one model on each line; an old one is replaced at the end, or stays. Raises OSError."""
    write_whole(path, "".join(model.model_dump_json() + "\n" for model in models).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write the file; an old one is replaced at the end, or stays. Raises OSError: there is no such place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # the name that somebody gave
        raise
