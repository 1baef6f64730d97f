"""What an instance of a dependent is told when it starts: one TOML file, one frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rekey_core.errors import ConfigurationError
from rekey_core.names import DependentName, Digest, Environment
from rekey_core.validation import settings_in

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Who the dependent is, where the bus is, and what is pinned. Paths may be relative to the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    dependent: DependentName
    bus_url: str  # tls://host:port; several nodes of one cluster separated by commas
    server_name: str = "localhost"  # what the server's certificate must be for
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    signing_key: Path  # the dependent's Ed25519 key, PEM
    transport_key: Path  # the dependent's RSA key, PEM; its public half is trusted in the HSM
    trust_genesis: Digest  # SHA-256 of the first trust document, pinned out of band
    state_dir: Path  # newest trust document and state of each key that was seen; one directory per instance
    try_s: Seconds = 2.0  # how long one try of a request waits for its answer
    total_s: Seconds = 10.0  # how long a request is retried in all
    longest_lease_s: Annotated[int, Field(ge=1)] | None = None  # leases that are shorter than the class says
    trace_file: Path | None = (
        None  # spans as JSON lines; without it they are records of the logger rekey.spans
    )

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        """The settings in a TOML file; relative paths are taken from the file's directory.

        Raises:
            ConfigurationError: the file is missing, not TOML, or not these settings; names the field, never a value.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"settings {path}: {error.strerror}") from error
        settings = settings_in(data, cls, where=f"settings {path}")
        base = path.resolve().parent
        return settings.model_copy(
            update={
                name: base / value
                for name, value in settings
                if isinstance(value, Path) and not value.is_absolute()
            }
        )
