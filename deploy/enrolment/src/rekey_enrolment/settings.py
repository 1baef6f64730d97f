"""What enrolment is told at start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from rekey_core.errors import ConfigurationError
from rekey_core.names import Digest, Environment
from rekey_core.validation import settings_in

_HINT: Final = (
    "expected the TOML file of enrolment, as deploy/up writes it: .rekey/stack/enrolment/settings.toml"
)


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
        ConfigurationError: it is not there, not TOML, or not these settings; names the field, never a value.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"settings {path}: {error.strerror}", hint=_HINT) from error
    return settings_in(data, EnrolmentSettings, where=f"settings {path}", hint=_HINT)
