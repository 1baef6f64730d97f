"""Flat TOML tables for settings files; the standard library reads TOML but does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

Value = str | int | float | bool | Path


def to_toml(values: Mapping[str, Value]) -> str:
    """One ``key = value`` line each. JSON's string escapes are valid in a TOML basic string (TOML 1.0)."""
    return "".join(f"{key} = {_literal(value)}\n" for key, value in values.items())


def _literal(value: Value) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
