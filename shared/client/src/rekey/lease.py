"""How long this instance may go on: counted from before the request was sent, on a clock that includes suspend."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from rekey.errors import LeaseExpiredError

# Linux: counts while the machine sleeps. Elsewhere CLOCK_MONOTONIC (macOS counts sleep in it).
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_NEVER: Final = float("-inf")


boottime: Final = partial(
    time.clock_gettime, _CLOCK
)  # seconds on the clock of leases; asked at every call, so no layer


class LeaseClock:
    """The end of the lease and, once it is over, why it was not renewed."""

    __slots__ = ("_closed", "_hurried", "duration_s", "hurry", "now", "problem", "until")

    def __init__(self, now: Callable[[], float] = boottime) -> None:
        self.now = now
        self._closed = False
        self._hurried = False
        self.hurry: Callable[[], None] = lambda: (
            None
        )  # called once, from any thread, when it was found to be over
        self.until = _NEVER
        self.duration_s = 0.0
        self.problem = "none was given yet"

    def extend(self, sent: float, duration_s: float) -> None:
        """The distributor gave a lease: it counts from ``sent``, the clock before the request left. Never shortens."""
        if self._closed:
            return
        self.until = max(self.until, sent + duration_s)
        self.duration_s = duration_s
        self._hurried = False

    def end(self, why: str) -> None:
        """It is over now and stays over."""
        self._closed = True
        self.until = _NEVER
        self.problem = why

    @property
    def is_valid(self) -> bool:
        """Whether the instance may go on."""
        return self.now() < self.until

    @property
    def renew_in_s(self) -> float:
        """Seconds until it should be renewed, at one third of its duration; 0 when that is past."""
        return max(0.0, self.until - self.duration_s * 2 / 3 - self.now())

    @property
    def left_s(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self.until - self.now())

    def check(self, key: str) -> None:
        """Return while the lease is valid.

        Raises:
            LeaseExpiredError: says since when, why and what to do.
        """
        if self.now() >= self.until:
            if not self._hurried:  # timers of the event loop stand still while the machine sleeps
                self._hurried = True
                self.hurry()
            raise self._expired(key)

    def end_time(self) -> datetime | None:
        """The end as wall time, for people."""
        if self.until == _NEVER:
            return None
        return datetime.now(UTC) + timedelta(seconds=self.until - self.now())

    def _expired(self, key: str) -> LeaseExpiredError:
        since = self.end_time()
        when = f"ran out at {since:%Y-%m-%dT%H:%M:%SZ}" if since else "is not there"
        return LeaseExpiredError(
            f"key {key}: the lease {when}: {self.problem}",
            hint="check that bus and distributor are reached; it is renewed by itself as soon as they are",
        )
