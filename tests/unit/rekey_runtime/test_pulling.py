"""When the bus is asked for messages: one question on its way, for as many as hands are free."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
from nats.errors import OutboundBufferLimitError

from rekey_core.authority import CONSUMERS
from rekey_runtime.pulling import Pulling

HANDS = 3
LONG_S = 5.0


class Asked:
    """The end of a connection at which questions arrive."""

    def __init__(self) -> None:
        self.is_connected = True
        self.is_full = False
        self.counts: list[int] = []
        self.replies: list[str] = []  # where the bus answers each
        self._came = asyncio.Event()

    async def publish(self, subject: str, payload: bytes, reply: str) -> None:
        """A question."""
        if self.is_full:
            raise OutboundBufferLimitError
        assert (subject, reply[:16]) == ("JSC.API.CONSUMER.MSG.NEXT.LIFECYCLE.generator", "_INBOX_generator")
        self.counts.append(json.loads(payload)["batch"])
        self.replies.append(reply)
        self._came.set()

    async def until(self, number: int) -> None:
        """So many questions came."""
        while len(self.counts) < number:
            self._came.clear()
            await self._came.wait()


@asynccontextmanager
async def pulling(asked: Asked, wait_s: float = LONG_S) -> AsyncIterator[Pulling]:
    """At work, with one question on its way if one can go out."""
    pull = Pulling(lambda: asked, next(c for c in CONSUMERS if c.name == "generator"), HANDS, wait_s)
    work = asyncio.create_task(pull.work())
    try:
        await turns()
        yield pull
    finally:
        work.cancel()


async def turns() -> None:
    """Whatever can go on without time passing has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_question_is_on_its_way_until_it_has_brought_all_that_it_may() -> None:
    asked = Asked()
    async with pulling(asked) as pull:
        for _ in range(HANDS - 1):
            with pull.taken():
                await turns()
        assert asked.counts == [HANDS]
        with pull.taken():
            await turns()
        assert asked.counts == [HANDS, HANDS - 1], "the one in hand is not asked for again"


async def test_no_question_goes_out_while_no_hand_is_free() -> None:
    asked = Asked()
    async with pulling(asked) as pull:
        with ExitStack() as hands:
            for _ in range(HANDS):
                hands.enter_context(pull.taken())
            await turns()
            assert asked.counts == [HANDS]
        await turns()
        assert asked.counts == [HANDS, HANDS], "those that ended together are asked for together"


def told(status: str) -> Callable[[Pulling, Asked], None]:
    """The bus says this of the newest question."""
    return lambda pull, asked: pull.told(status, asked.replies[-1])


AGAIN = [
    pytest.param(told("408"), id="the bus says that its time is over"),
    pytest.param(told("404"), id="the bus says that nothing is there"),
    pytest.param(told("503"), id="the bus says that nobody is there"),
    pytest.param(told("409"), id="the bus says that the leader is another one now"),
    pytest.param(
        lambda pull, _: pull.back(), id="the connection is there again, and the bus may know nothing"
    ),
]


@pytest.mark.parametrize("happens", AGAIN)
async def test_the_next_question_goes_out_when_the_one_before_brings_nothing_more(
    happens: Callable[[Pulling, Asked], None],
) -> None:
    asked = Asked()
    async with pulling(asked) as pull, asyncio.timeout(LONG_S - 1):  # before its own time is over
        happens(pull, asked)
        await asked.until(2)


async def test_what_the_bus_says_of_an_older_question_leads_to_no_further_one() -> None:
    """It keeps the old one over a short interruption: each such word would otherwise be one question more, for ever."""
    asked = Asked()
    async with pulling(asked) as pull, asyncio.timeout(LONG_S - 1):
        pull.back()
        await asked.until(2)
        pull.told("408", asked.replies[0])
        await turns()
        assert asked.counts == [HANDS, HANDS], "the second is on its way"
        pull.told("408", asked.replies[1])
        await asked.until(3)


async def test_a_bus_that_cannot_take_a_question_is_not_asked_without_a_pause() -> None:
    asked = Asked()
    async with pulling(asked) as pull:
        pull.told("503", asked.replies[-1])
        await turns()
        assert asked.counts == [HANDS]


async def test_a_question_of_which_nothing_is_heard_is_asked_again() -> None:
    asked = Asked()
    async with pulling(asked, wait_s=0.01), asyncio.timeout(10):
        await asked.until(3)


@pytest.mark.parametrize(
    ("away", "there"),
    [
        pytest.param({"is_connected": False}, {"is_connected": True}, id="away: nothing piles up for later"),
        pytest.param({"is_full": True}, {"is_full": False}, id="the connection's buffer is full"),
    ],
)
async def test_nothing_is_asked_that_cannot_go_out(away: dict[str, bool], there: dict[str, bool]) -> None:
    asked = Asked()
    vars(asked).update(away)
    async with pulling(asked) as pull, asyncio.timeout(10):
        assert asked.counts == []
        vars(asked).update(there)
        pull.back()
        await asked.until(1)
