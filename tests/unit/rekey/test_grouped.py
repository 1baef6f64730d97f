"""What many need at once is done once, and never by a run that began before they asked."""

from __future__ import annotations

import asyncio

import pytest

from rekey.errors import UnavailableError
from rekey.grouped import Grouped


class Counter:
    """Takes in what is there when a run begins."""

    def __init__(self, failures: int = 0) -> None:
        self.there = 0
        self.runs = 0
        self.failures = failures
        self.grouped = Grouped(self.run)

    async def run(self) -> int:
        self.runs += 1
        taken = self.there
        await asyncio.sleep(0.01)
        if self.runs <= self.failures:
            raise UnavailableError("not now")
        return taken

    async def ask(self) -> int:
        self.there += 1
        return await self.grouped.run()


async def test_who_asks_while_one_runs_shares_the_next_and_is_in_it() -> None:
    counter = Counter()
    first = asyncio.create_task(counter.ask())
    await asyncio.sleep(0)
    others = [asyncio.create_task(counter.ask()) for _ in range(10)]
    assert await first == 1, "it had begun before the others asked"
    assert await asyncio.gather(*others) == [11] * 10
    assert counter.runs == 2


async def test_who_asks_later_gets_a_run_of_its_own() -> None:
    counter = Counter()
    assert [await counter.ask(), await counter.ask()] == [1, 2]
    assert counter.runs == 2


async def test_a_run_that_fails_fails_for_one_and_the_next_goes_on_for_the_others() -> None:
    counter = Counter(failures=1)
    first, *others = await asyncio.gather(*(counter.ask() for _ in range(3)), return_exceptions=True)
    assert isinstance(first, UnavailableError)
    assert (others, counter.runs) == ([3, 3], 2)


async def test_who_is_cancelled_takes_nothing_away_from_the_others() -> None:
    counter = Counter()
    first, second = (asyncio.create_task(counter.ask()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 2
