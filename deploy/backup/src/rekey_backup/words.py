"""What the program says: data on standard output, one line for each problem on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from rekey_core.encoding import printable

FORMATS: Final = ("table", "json", "ndjson")


def say(data: Mapping[str, object], problems: Sequence[str], output: str) -> None:
    """Write both. ``output``: one of ``FORMATS``; one object is one line in both forms of JSON."""
    text = _table(data) if output == "table" else json.dumps(data) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()
    sys.stderr.writelines(f"error: {printable(line)}\n" for line in problems)


def _table(data: Mapping[str, object]) -> str:
    width = max(map(len, data), default=0)
    return "".join(
        f"{name.replace('_', ' '):<{width}}  {printable(_cell(value))}\n" for name, value in data.items()
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
