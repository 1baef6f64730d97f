"""Runs one of our programs on a wall clock that a test can move: ``python wrong_clock.py FILE MODULE ARGUMENTS``.

Nobody may move the clock of the machine that tests run on, so it moves where our code reads it: ``datetime.now`` in each of
our modules, and ``time.time``, are off by the seconds in FILE (none: it is right), asked at each call. TLS, which OpenSSL
judges, and boot time stay what they are.
"""

from __future__ import annotations

import datetime as dt
import importlib
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

OURS: Final = ("rekey",)  # first letters of our packages


def move(file: Path, seconds: float) -> None:
    """Set the clock of whoever runs on this file; in one step, so that nobody reads half of it."""
    temporary = file.with_suffix(".new")
    temporary.write_text(str(seconds))
    temporary.replace(file)


def _off_by(file: Path) -> Callable[[], float]:
    def off_by() -> float:
        return float(file.read_text()) if file.exists() else 0.0

    return off_by


class _Kind(type):
    """What a real ``datetime`` is an instance of, too."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, dt.datetime)


def _moved(off_by: Callable[[], float]) -> type[dt.datetime]:
    class Moved(dt.datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + dt.timedelta(seconds=off_by())

    return Moved


def main(file: str, module: str) -> None:
    """Import the program, put its clock on the file, and run it."""
    off_by = _off_by(Path(file))
    package = hasattr(importlib.import_module(module), "__path__")
    if package:  # a service: its __main__ runs what its app composes
        importlib.import_module(f"{module}.app")
        importlib.import_module("rekey_runtime.service")
    moved, right = _moved(off_by), time.time
    for name, loaded in list(sys.modules.items()):
        if name.startswith(OURS) and getattr(loaded, "datetime", None) is dt.datetime:
            loaded.__dict__["datetime"] = moved
    time.time = lambda: right() + off_by()
    if not package:
        del sys.modules[module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _, where, what, *_rest = sys.argv
    sys.argv[1:] = _rest
    main(where, what)
