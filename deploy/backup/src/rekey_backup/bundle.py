"""A bundle as a file: what crosses from the bus to the offline token (``rekey_core.bundles``)."""

from __future__ import annotations

from pathlib import Path

from rekey_backup.lines import read_lines, write_lines
from rekey_core.bundles import Bundle, End, Line, bundle_of, line_of, message_of

__all__ = ["Bundle", "bundle_of", "read", "write", "write_log"]


def write(path: Path, bundle: Bundle) -> None:
    """Write the file; an old one is replaced."""
    write_lines(path, map(line_of, bundle.messages))


def write_log(path: Path, bundle: Bundle, challenge: str) -> None:
    """Write a log that is complete, with its end; an old one is replaced."""
    messages = bundle.messages
    write_lines(path, (*map(line_of, messages), End(messages=len(messages), challenge=challenge)))


def read(path: Path) -> Bundle:
    """Read the file. Raises as ``read_lines``."""
    return bundle_of(message_of(line) for line in read_lines(path, Line, "a message"))
