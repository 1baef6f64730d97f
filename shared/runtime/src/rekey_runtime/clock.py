"""The clock of durations: no wall clock moves it, and it counts while the machine sleeps."""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds since the machine was started (Linux: CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
