"""What the two sides are told: the one on the bus, and the one that has the offline token."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from rekey_core.errors import ConfigurationError
from rekey_core.names import Digest, Environment
from rekey_core.validation import settings_in


class BusSettings(BaseModel):
    """The identity that reads backups and facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    bus_url: str
    server_name: str
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    trust_genesis: Digest


class TokenSettings(BaseModel):
    """The offline token; PINs have files of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    trust_genesis: Digest
    hsm_module: Path
    token_directory: Path  # holds softhsm2.conf
    token_label: str
    token_serial: str
    pin_file: Path
    so_pin_file: Path


_HINT: Final = "what needs the bus takes settings.toml, what needs the offline token token.toml (deploy/backup/README.md)"

S = TypeVar("S", BusSettings, TokenSettings)


def load(path: Path, kind: type[S]) -> S:
    """Read the TOML file.

    Raises:
        ConfigurationError: it is not there, not TOML, or not these settings; names the field, never a value.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"settings {path}: {error.strerror}", hint=_HINT) from error
    return settings_in(data, kind, where=f"settings {path}", hint=_HINT)
