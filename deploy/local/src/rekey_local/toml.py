"""TOML for settings files, at most one table deep; the standard library reads TOML but does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

Simple = str | int | float | bool | Path
Value = Simple | Mapping[str, Simple]


def to_toml(values: Mapping[str, Value]) -> str:
    """One ``key = value`` line each, tables last. JSON's string escapes are valid in a TOML basic string (TOML 1.0)."""
    lines = [_line(key, value) for key, value in values.items() if not isinstance(value, Mapping)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"\n[{key}]\n", *(_line(name, inner) for name, inner in value.items())]
    return "".join(lines)


def _line(key: str, value: Simple) -> str:
    return f"{key} = {_literal(value)}\n"


def _literal(value: Simple) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
