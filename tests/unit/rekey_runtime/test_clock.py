"""The clock of the bus as a service counts it: its own wall clock is never asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rekey_core.authority import Stream
from rekey_core.errors import UnavailableError
from rekey_runtime.clock import BusClock, boottime

THERE = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)  # far from what this machine thinks
MOMENT = timedelta(seconds=5)


class Server:
    """A bus whose clock says what it wants."""

    def __init__(self) -> None:
        self.said = THERE
        self.is_away = False

    async def time(self, stream: Stream) -> datetime:
        assert stream is Stream.LEASES
        if self.is_away:
            raise UnavailableError("no answer")
        return self.said


async def test_it_says_what_the_bus_says_and_goes_on_from_there() -> None:
    server = Server()
    clock = BusClock(server, Stream.LEASES)
    await clock.ask()
    first = clock.now()
    assert abs(first - THERE) < MOMENT
    assert first <= clock.now()
    server.said = THERE + timedelta(hours=1)
    assert abs(clock.now() - THERE) < MOMENT, "not asked again yet"
    await clock.ask()
    assert abs(clock.now() - server.said) < MOMENT


async def test_it_goes_on_while_the_bus_is_away() -> None:
    server = Server()
    clock = BusClock(server, Stream.LEASES)
    await clock.ask()
    server.is_away = True
    with pytest.raises(UnavailableError):
        await clock.ask()
    assert abs(clock.now() - THERE) < MOMENT


def test_before_it_was_asked_nothing_is_of_today() -> None:
    clock = BusClock(Server(), Stream.LEASES)
    assert clock.now() < THERE - timedelta(days=365)
    assert boottime() <= boottime()
