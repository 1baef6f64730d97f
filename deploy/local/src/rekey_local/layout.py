"""Where everything of a local stack lies: one directory per identity, each with only its own secrets."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700


@dataclass(frozen=True)
class Layout:
    """The state directory of one stack."""

    root: Path

    @property
    def ca(self) -> Path:
        """The development CA."""
        return self.root / "ca"

    @property
    def bus(self) -> Path:
        """Configuration, certificate and streams of the NATS server."""
        return self.root / "bus"

    @property
    def database(self) -> Path:
        """The PostgreSQL cluster."""
        return self.root / "database"

    @property
    def ceremony(self) -> Path:
        """The officers' PINs of the tokens, and the backup token's own."""
        return self.root / "ceremony"

    @property
    def enrolment(self) -> Path:
        """The identity that enrols dependents."""
        return self.root / "enrolment"

    @property
    def backup(self) -> Path:
        """The identity that reads backups, and what is told to whoever has the offline token."""
        return self.root / "backup"

    @property
    def provisioner(self) -> Path:
        """The identity that makes streams, consumers and accounts."""
        return self.root / "provisioner"

    @property
    def exchange(self) -> Path:
        """Where the story's instances leave ciphertexts and tokens for each other."""
        return self.root / "exchange"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by the one supervisor; contains its pid."""
        return self.root / "lock"

    def token(self, service: str) -> Path:
        """The HSM token of a service."""
        return self.root / "tokens" / service

    def service(self, name: str) -> Path:
        """The identity of a service."""
        return self.root / "services" / name

    def person(self, name: str) -> Path:
        """The identity of a person."""
        return self.root / "people" / name

    def dependent(self, name: str) -> Path:
        """The identity of a dependent, shared by its instances."""
        return self.root / "dependents" / name


def private_directory(path: Path) -> Path:
    """Make the directory and those above it that are missing, for their owner alone."""
    if not path.parent.exists():
        private_directory(path.parent)
    path.mkdir(exist_ok=True, mode=_PRIVATE_DIRECTORY)
    return path


def write_private(path: Path, data: bytes | str) -> None:
    """Replace the file in one step, for its owner alone: a crash leaves the old or the new content."""
    private_directory(path.parent)
    content = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(_PRIVATE_FILE)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
