"""What ran: for what must not be done twice, where nothing else tells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def runs_of(function: Callable[..., object]) -> Iterator[list[str]]:
    """An entry for each time that the function runs."""
    runs: list[str] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is function.__code__:
            runs.append(function.__name__)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield runs
    finally:
        sys.setprofile(before)
