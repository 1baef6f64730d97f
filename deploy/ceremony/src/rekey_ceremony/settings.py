"""The tokens as a file: JSON, with every PIN in a file of its own that only the ceremony's people can read."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rekey_ceremony.plan import CeremonyPlan, TokenPlan
from rekey_core.errors import ConfigurationError
from rekey_core.names import Digest, Environment
from rekey_core.secret import Secret
from rekey_core.validation import what_is_wrong


class TokenFile(BaseModel):
    """One token; a relative path starts at the directory of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path
    label: str
    user_pin_file: Path
    so_pin_file: Path


class SettingsFile(BaseModel):
    """The tokens of an environment; which epoch a ceremony is about is said by whoever holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    module: Path
    generator: TokenFile
    distributor: TokenFile
    backup: TokenFile | None = None
    backup_epoch: int = 1
    trust_genesis: Digest | None = None  # SHA-256 of the first trust document: what the log is verified from


def read_settings(path: Path) -> SettingsFile:
    """Read the file.

    Raises:
        ConfigurationError: it is missing, or does not name tokens.
    """
    try:
        return SettingsFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    except ValidationError as error:  # whose text quotes what it found: that may be a PIN
        raise _unreadable(path, what_is_wrong(error)) from None


def read_plan(path: Path, epoch: int) -> CeremonyPlan:
    """Read the file and the PINs that it names.

    Raises:
        ConfigurationError: a file is missing, or does not name tokens.
    """
    found = read_settings(path)
    try:
        generator, distributor = (_token(path.parent, t) for t in (found.generator, found.distributor))
        backup = _token(path.parent, found.backup) if found.backup else None
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    return CeremonyPlan(found.env, epoch, found.module, generator, distributor, backup, found.backup_epoch)


def _unreadable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the ceremony's settings {path.name} cannot be read: {why}",
        hint="expected its JSON file; what it names is in deploy/ceremony/README.md",
    )


def _token(base: Path, token: TokenFile) -> TokenPlan:
    user_pin, so_pin = (
        Secret((base / pin).read_bytes().strip()) for pin in (token.user_pin_file, token.so_pin_file)
    )
    return TokenPlan(base / token.directory, token.label, user_pin, so_pin)
