"""Asking again: until it works, a rule says no, or the time is over."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rekey_core.errors import RetryableError, UnavailableError

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

T = TypeVar("T")


def pause_s(failures: int, longest_s: float = LONGEST_PAUSE_S) -> float:
    """How long to wait after so many failures in a row: doubling, up to ``longest_s``, half of it by chance."""
    longest = min(longest_s, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest * (0.5 + secrets.randbelow(1000) / 2000)


async def persistently(once: Callable[[], Awaitable[T]], total_s: float, *, what: str) -> T:
    """The result of the first try that works.

    Raises:
        UnavailableError: none did for ``total_s`` seconds; names what and the last reason.
        RekeyError: what a try raised that is not worth another one.
    """
    deadline = time.monotonic() + total_s
    failures = 0
    while True:
        try:
            return await once()
        except RetryableError as error:
            failures += 1
            pause = pause_s(failures)
            if time.monotonic() + pause >= deadline:
                raise UnavailableError(
                    f"{what}: gave up after {total_s:g} s: {error}", hint=error.hint
                ) from error
        await asyncio.sleep(pause)
