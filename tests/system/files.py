"""Files of processes that run: between being listed and being read, any of them may be gone, or another one in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_under(root: Path) -> Iterator[Path]:
    """Every file that is there."""
    for place, _, names in os.walk(root):  # what goes meanwhile is left out
        yield from (path for name in names if (path := Path(place, name)).is_file())


def what_is_in(path: Path) -> bytes:
    """Its bytes; none of one that is gone."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
