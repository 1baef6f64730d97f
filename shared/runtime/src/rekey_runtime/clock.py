"""Clocks that no wall clock of this machine moves: one for durations, and the bus's own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from rekey_core.authority import Stream


def boottime() -> float:
    """Seconds since the machine was started, its sleep included (Linux: CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Timed(Protocol):
    """Who knows the time of the bus."""

    async def time(self, stream: Stream) -> datetime:
        """What the clock says now that stamps the messages of a stream."""


class BusClock:
    """The clock of the bus, asked for now and then and counted on with boot time: replicas agree on it."""

    def __init__(self, bus: Timed, stream: Stream) -> None:
        self._bus = bus
        self._stream = stream
        self._offset = datetime.min.replace(tzinfo=UTC)  # until it was asked for, nothing is of today

    async def ask(self) -> None:
        """Ask for it (again). Raises as ``Bus.time``, and goes on as before then."""
        before = boottime()
        said = await self._bus.time(self._stream)
        self._offset = said - timedelta(seconds=(before + boottime()) / 2)

    def now(self) -> datetime:
        """UTC."""
        return self._offset + timedelta(seconds=boottime())
