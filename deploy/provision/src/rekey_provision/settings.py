"""What the provisioner is told: the plan, where the rendered configuration goes, and how to log in."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret
from rekey_core.validation import settings_in
from rekey_provision.plan import BusPlan

OTHERS: Final = 0o077


class ProvisionSettings(BaseModel):
    """One TOML file; absolute paths."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: BusPlan
    config_file: Path
    pid_file: Path | None = (
        None  # of nats-server: told to read the configuration again after a render that changed it
    )
    bus_url: str
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    genesis_file: Path | None = None
    database_url_file: Path | None = None  # postgresql://… of a role that may make roles and databases
    database_password_files: dict[Identity, Path] = {}  # of each service that has a projection


def load(path: Path) -> ProvisionSettings:
    """The settings in a TOML file.

    Raises:
        ConfigurationError: the file is missing, not TOML, or not the model; names the field, never a value.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"settings {path}: {error.strerror}") from error
    return settings_in(data, ProvisionSettings, where=f"settings {path}")


def secret_in(path: Path) -> Secret:
    """What stands in the file, without white space around it.

    Raises:
        ConfigurationError: it cannot be read, is empty, or may be read by others than its owner.
    """
    try:
        if path.stat().st_mode & OTHERS:
            raise ConfigurationError(f"{path} may be read by others", hint=f"chmod 600 {path}")
        value = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"secret file {path}: {error.strerror}") from error
    if not value:
        raise ConfigurationError(f"secret file {path} is empty")
    return Secret(value)


def tls_context(cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Mutual TLS 1.3 with one identity's certificate. Raises ConfigurationError when a file cannot be used."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert, key)
    except OSError as error:
        raise ConfigurationError(f"certificate {cert}: {error}") from error
    return context
