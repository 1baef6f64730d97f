"""Who somebody is and which environment they work with: one TOML file (``--context FILE`` or ``REKEY_CONTEXT``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from rekey.cli.errors import UsageError
from rekey_core.names import Digest, Environment, PersonName, Service
from rekey_core.validation import what_is_wrong

_HINT: Final = "give --context FILE or set REKEY_CONTEXT; rekey key ls --help names its fields"


class Context(BaseModel):
    """A person in an environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    person: PersonName
    bus_url: str  # tls://host:port
    server_name: str = "localhost"  # what the server's certificate must be for
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    ssh_key: Path  # signs commands
    trust_genesis: Digest  # SHA-256 of the first trust document, pinned out of band
    state_dir: Path  # the highest trust version seen is kept here
    services: Mapping[
        Service, str
    ] = {}  # where each says how it is, e.g. http://127.0.0.1:9101; for rekey doctor
    trace_file: Path | None = None  # spans of commands as JSON lines; none: they are not kept


def load_context(path: Path | None) -> Context:
    """The context in the file; relative paths are taken from the file's directory.

    Raises:
        UsageError: no file named, not readable, not TOML, or not a context; names the field, never a value.
    """
    if path is None:
        message = "expected a context file, found none"
        raise UsageError(message, hint=_HINT)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        context = Context.model_validate(raw)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"context {path}: {error}"
        raise UsageError(message, hint=_HINT) from error
    except ValidationError as error:
        message = f"context {path}: {what_is_wrong(error)}"
        raise UsageError(message, hint=_HINT) from None
    base = path.resolve().parent
    located = {
        name: base / value for name, value in context if isinstance(value, Path)
    }  # an absolute path stays
    return context.model_copy(update=located)
