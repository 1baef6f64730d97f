"""What a service is told when it starts: one TOML file, one frozen model, nothing from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rekey_core.errors import ConfigurationError
from rekey_core.names import Digest, Environment, Service
from rekey_core.validation import settings_in


class ServiceSettings(BaseModel):
    """What every service needs; a service adds its own fields in a subclass. Paths may be relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    service: Service
    bus_url: str  # tls://host:port; several nodes of one cluster separated by commas
    server_name: str = "localhost"  # what the server's certificate must be for
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    signing_key: Path  # Ed25519, PEM; the one that takes over lies beside it, with .next behind its name
    trust_genesis: Digest  # SHA-256 of the first trust document, pinned out of band
    state_dir: Path  # the highest trust version seen is kept here
    fetch_wait_s: Annotated[float, Field(gt=0, le=5)] = (
        2.0  # a pull's length; where the bus forgot it, LATE_S later there is another one
    )
    request_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    watchdog_s: Annotated[float, Field(gt=0)] = 3.0
    drain_s: Annotated[float, Field(gt=0)] = 10.0
    max_waiting_requests: Annotated[int, Field(ge=1)] = 64  # more are dropped: who asked asks again, later
    max_cached_keys: Annotated[int, Field(ge=1)] = 10_000
    trace_file: Path | None = None  # spans as JSON lines; none: spans.jsonl in the state directory
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] | None = (
        None  # /livez, /readyz, /metrics; 0: a free one; none: nothing is served
    )
    stuck_s: Annotated[float, Field(gt=0)] = 30.0  # longer inside one handler, or without progress: not ready
    otlp_endpoint: str | None = (
        None  # e.g. http://127.0.0.1:4318/v1/traces; then spans go there and not to the file
    )


S = TypeVar("S", bound=ServiceSettings)


def load_settings(path: Path, model: type[S]) -> S:
    """The settings in a TOML file; relative paths are taken from the file's directory.

    Raises:
        ConfigurationError: the file is missing, not TOML, or not the model; names the field, never a value.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"settings {path}: {error.strerror}") from error
    settings = settings_in(data, model, where=f"settings {path}")
    base = path.resolve().parent
    located = {
        name: base / value for name, value in settings if isinstance(value, Path) and not value.is_absolute()
    }
    return settings.model_copy(update=located)
