"""How many messages this instance may still protect with one version: none goes out without a permit of its own.

Permits lie in a deque, whose operations are atomic, so a call costs one ``pop`` and threads cannot take the same one. What
was given comes in totals, so that an answer that is lost or doubled gives nothing twice.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Final

from rekey.errors import QuotaExhaustedError
from rekey_core.quotas import BUDGET, LEAST, ahead_of, next_total

BLOCK: Final = 1024  # permits laid out at a time
_LOW: Final = 4  # below a quarter of what should lie ahead the next renewal comes at once


def _nothing() -> None:
    return


class Quota:
    """Permits of one version. ``hurry`` is called, from any thread, when they run low: once each time that some came."""

    __slots__ = (
        "_at",
        "_hurried",
        "_lock",
        "_permits",
        "_reserve",
        "_used",
        "_where",
        "ahead",
        "hurry",
        "permit",
        "total",
    )

    def __init__(self, where: str) -> None:
        self._where = where
        self._permits: deque[None] = deque()
        self.permit: Callable[[], None] = (
            self._permits.pop
        )  # IndexError: none is laid out, ``take`` knows more
        self._reserve = 0
        self._lock = threading.Lock()
        self._hurried = False
        self._used = 0
        self._at = 0.0
        self.total = 0  # messages given so far
        self.ahead = LEAST  # messages that it should have before it
        self.hurry: Callable[[], None] = _nothing

    def take(self) -> None:
        """One message.

        Raises:
            QuotaExhaustedError: all that were given are protected.
        """
        try:
            self._permits.pop()
        except IndexError:
            self._take_from_reserve()

    def extend(self, total: int) -> None:
        """The distributor has given ``total`` in all. Never fewer than before."""
        with self._lock:
            more = max(0, total - self.total)
            self._reserve += more
            self.total += more
            self._hurried = self._hurried and more == 0

    @property
    def left(self) -> int:
        """Messages that may still be protected."""
        with self._lock:
            return len(self._permits) + self._reserve

    def wanted(self, now: float, lease_s: float) -> int:
        """The total to ask for: as fast as since the last time, but never measured over less than a renewal's pause."""
        left = self.left
        used = self.total - left
        if self.total:  # else nothing was measured yet: as many as with the version before
            self.ahead = ahead_of((used - self._used) / max(now - self._at, lease_s / 3), lease_s)
        self._used, self._at = used, now
        return next_total(self.total, left, self.ahead)

    def _take_from_reserve(self) -> None:
        with self._lock:
            block = min(self._reserve, BLOCK)
            self._reserve -= block
            self._permits.extend(repeat(None, block))
            try:
                self._permits.pop()
                is_exhausted = False
            except IndexError:
                is_exhausted = True
            hurry = not self._hurried and self._reserve * _LOW < self.ahead
            self._hurried = self._hurried or hurry
        if hurry:
            self.hurry()
        if is_exhausted:
            raise self._exhausted()

    def _exhausted(self) -> QuotaExhaustedError:
        key = self._where.partition("@")[0]
        return QuotaExhaustedError(
            f"key {self._where}: all {self.total} messages that this instance was given are protected; no more than "
            f"{BUDGET} may be under one version, over all instances (NIST SP 800-38D §8.3); decrypt goes on",
            hint=f"more comes by itself with the next renewal or version: rekey key rotate {key}",
        )

    def __repr__(self) -> str:
        return f"Quota({self._where}: {self.left} of {self.total})"
