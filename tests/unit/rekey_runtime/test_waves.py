"""What waits is stored together, and what becomes of a batch is told to each of those in it as it is for that one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from rekey_core.authority import Stream
from rekey_core.errors import (
    ConflictError,
    OversizedError,
    RekeyError,
    UnavailableError,
    UnknownOutcomeError,
)
from rekey_runtime.waves import ALONE, MAX_BATCH, Ready, Waves
from tests.fakes.endings import KilledError


@dataclass
class Log:
    """Stores all or none, once it is let; refuses what depends on a check that is taken."""

    taken: set[str] = field(default_factory=set)
    ends: list[BaseException] = field(default_factory=list)  # of the next tries
    batches: list[list[str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _sequence: int = 0

    async def store(self, messages: Sequence[Ready]) -> int:
        """As the bus does it."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.batches.append([message.subject for message in messages])
        try:
            await self.open.wait()
            await asyncio.sleep(0)
            if self.ends:
                raise self.ends.pop(0)
            late = [message.subject for message in messages if message.check in self.taken]
            if late:
                raise ConflictError(f"{messages[-1].subject}: wrong last sequence")
        finally:
            self.at_once -= 1
        self._sequence += len(messages)
        return self._sequence


def message(subject: str, check: str | None = None) -> Ready:
    return Ready(subject, b"", {}, check or subject)


async def joined(waves: Waves, *subjects: str) -> list[asyncio.Task[int]]:
    """Each waits to have one message stored; the first is on its way."""
    waiting = [asyncio.create_task(waves.join(Stream.LIFECYCLE, [message(s)])) for s in subjects]
    await _settled()
    return waiting


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_a_batch_is_on_its_way_goes_into_the_next_one() -> None:
    log = Log()
    waves = Waves(log.store)
    waiting = await joined(waves, "first")
    waiting += await joined(waves, "second", "third", "fourth")
    log.open.set()
    assert await asyncio.gather(*waiting) == [1, 2, 3, 4]
    assert log.batches == [["first"], ["second", "third", "fourth"]]


async def test_a_stream_does_not_wait_for_another() -> None:
    log = Log()
    waves = Waves(log.store)
    for stream in (Stream.LIFECYCLE, Stream.MATERIAL):
        asyncio.create_task(waves.join(stream, [message(stream)]))  # noqa: RUF006 - ends with the test
    await _settled()
    assert log.batches == [[Stream.LIFECYCLE], [Stream.MATERIAL]]
    log.open.set()
    await _settled()


async def test_what_belongs_together_is_in_one_batch_and_told_the_last_sequence() -> None:
    log = Log()
    waves = Waves(log.store)
    pairs = [
        asyncio.create_task(waves.join(Stream.MATERIAL, [message(f"{n} a"), message(f"{n} b")]))
        for n in range(3)
    ]
    log.open.set()
    assert await asyncio.gather(*pairs) == [2, 4, 6]
    assert log.batches == [["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]]


async def test_two_with_the_same_check_are_never_in_one_batch() -> None:
    log = Log()
    waves = Waves(log.store)
    checks = {"a": "key 1", "b": "key 1", "c": "key 2", "d": "key 1"}
    waiting = [
        asyncio.create_task(waves.join(Stream.LIFECYCLE, [message(s, check)])) for s, check in checks.items()
    ]
    log.open.set()
    await asyncio.gather(*waiting)
    assert log.batches == [["a", "c"], ["b"], ["d"]]


async def test_no_batch_is_larger_than_the_server_takes() -> None:
    log = Log()
    waves = Waves(log.store)
    waiting = await joined(waves, *(str(n) for n in range(MAX_BATCH + 1)))
    log.open.set()
    await asyncio.gather(*waiting)
    assert [len(batch) for batch in log.batches] == [MAX_BATCH, 1]


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_what_is_no_batch_is_our_own_mistake(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        await Waves(Log().store).join(Stream.LIFECYCLE, [message(str(n)) for n in range(count)])


async def test_who_is_late_hears_of_it_and_the_others_are_stored() -> None:
    log = Log(taken={"17"})
    waves = Waves(log.store)
    waiting = await joined(waves, *(str(n) for n in range(40)))
    log.open.set()
    said = await asyncio.gather(*waiting, return_exceptions=True)
    late = said.pop(17)
    assert isinstance(late, ConflictError)
    assert str(late) == "17: wrong last sequence"
    assert sorted(n for n in said if isinstance(n, int)) == list(range(1, 40))
    assert log.most_at_once == ALONE


REFUSALS = [ConflictError("late"), UnavailableError("full"), OversizedError("too large")]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
async def test_a_refused_batch_says_nothing_about_those_in_it(error: RekeyError) -> None:
    log = Log(ends=[error])
    waiting = await joined(Waves(log.store), "a", "b")
    log.open.set()
    assert sorted(await asyncio.gather(*waiting)) == [1, 2]
    assert log.batches == [["a", "b"], ["a"], ["b"]]


async def test_that_the_outcome_is_not_known_is_told_to_each_and_nothing_is_sent_again() -> None:
    log = Log(ends=[UnknownOutcomeError("b: no answer", hint="look")])
    waiting = await joined(Waves(log.store), "a", "b")
    log.open.set()
    first, second = await asyncio.gather(*waiting, return_exceptions=True)
    assert (str(first), str(second)) == (
        "a: in one batch with 1 others: b: no answer",
        "b: in one batch with 1 others: b: no answer",
    )
    assert isinstance(first, UnknownOutcomeError)
    assert (first.hint, first is second) == ("look", False)
    assert log.batches == [["a", "b"]]


@pytest.mark.parametrize("error", [KilledError(), ValueError("a mistake")], ids=["killed", "a mistake"])
async def test_whatever_ends_a_batch_ends_those_in_it_and_not_the_next(error: BaseException) -> None:
    log = Log(ends=[error])
    waves = Waves(log.store)
    waiting = await joined(waves, "a", "b")
    later = await joined(waves, "c")
    log.open.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [error, error]
    assert await asyncio.gather(*later) == [1]


async def test_who_stops_waiting_stops_nobody_else() -> None:
    log = Log()
    waves = Waves(log.store)
    sent = await joined(waves, "a", "b")
    later = await joined(waves, "c", "d")
    for task in (sent[0], later[0]):
        task.cancel()
    log.open.set()
    said = await asyncio.gather(*sent, *later, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in said] == [True, False, True, False]
    assert log.batches == [["a", "b"], ["d"]], "what was sent is on its way, what was not is left out"


async def test_who_stopped_waiting_is_not_tried_alone() -> None:
    log = Log(ends=[ConflictError("late")])
    waiting = await joined(Waves(log.store), "a", "b", "c")
    waiting[1].cancel()
    log.open.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert log.batches == [["a", "b", "c"], ["a"], ["c"]]
