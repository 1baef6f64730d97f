"""SoftHSM's own files: one directory per token, for one operating-system user."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CONFIGURATION: Final = "softhsm2.conf"  # named by SOFTHSM2_CONF in the environment of each process
_TOKENS: Final = "tokens"


def prepare(directory: Path) -> Path:
    """Make the directory (mode 0700) with its configuration, unless it is there; returns the configuration.

    Raises:
        OSError: the directory cannot be made.
    """
    tokens = directory / _TOKENS
    tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    configuration = directory / CONFIGURATION
    text = (
        f"directories.tokendir = {tokens.resolve()}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
        "slots.removable = false\n"
    )
    if not configuration.exists() or configuration.read_text() != text:
        configuration.write_text(text)
    return configuration
