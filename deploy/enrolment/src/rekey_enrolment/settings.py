"""What enrolment is told at start."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rekey_core.errors import ConfigurationError
from rekey_core.names import Digest, Environment


class EnrolmentSettings(BaseModel):
    """Its bus identity and the token on which it is the security officer; the PIN has a file of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    bus_url: str
    server_name: str
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    trust_genesis: Digest
    hsm_module: Path
    token_label: str
    token_serial: str
    so_pin_file: Path


def load_settings(path: Path) -> EnrolmentSettings:
    """Read the TOML file.

    Raises:
        ConfigurationError: it is not there, not TOML, or not these settings.
    """
    try:
        return EnrolmentSettings.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        message = f"{path}: {error}"
        raise ConfigurationError(message) from error
