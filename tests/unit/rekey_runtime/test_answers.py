"""Who asks with an inbox of its own leaves it, however the wait ends; the SDK and the services have each their own asker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey.connection import _first_answer
from rekey_runtime.answers import first_answer

SUBJECT = "JSC.API.DIRECT.GET.NOTICES.ntc.dev.orders.orders-db"
LONG_S = 60.0
Ask = Callable[[Client, float], Awaitable[Msg]]


class Line(Client):
    """The client as it is, on a line to a bus that says nothing of itself; keeps what the client told the bus."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.asked = asyncio.Event()  # the question is on its way

    @property
    def is_connected(self) -> bool:
        """From the start."""
        return True

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - its own
        self.told.append(cmd.decode().partition("\r\n")[0].strip())
        if self.told[-1].startswith("PUB"):
            self.asked.set()

    async def _flush_pending(self, force_flush: bool = False) -> None:  # noqa: FBT001, FBT002 - its own
        """Nothing waits."""

    async def answered(self, data: bytes) -> None:
        """The bus sends this to the inbox."""
        await self._process_msg(1, b"_INBOX.x", b"", data, b"")

    @property
    def waits_for(self) -> list[int]:
        """The subscriptions that the client still serves."""
        return list(self._subs)


@pytest.fixture(
    params=[
        pytest.param(lambda line, wait_s: first_answer(line, SUBJECT, b"", wait_s=wait_s), id="a service"),
        pytest.param(lambda line, wait_s: _first_answer(line, SUBJECT, wait_s), id="the SDK"),
    ]
)
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


async def test_an_inbox_that_nothing_came_to_in_time_is_left(ask: Ask) -> None:
    line = Line()
    with pytest.raises(nats.errors.TimeoutError):
        await ask(line, 0.0)
    assert [words.split()[0] for words in line.told] == ["SUB", "UNSUB", "PUB", "UNSUB"]
    assert line.told[-1] == "UNSUB 1", "without a limit: at once"
    assert line.waits_for == []


async def test_an_inbox_is_left_by_who_is_cancelled(ask: Ask) -> None:
    line = Line()
    asking = asyncio.ensure_future(ask(line, LONG_S))
    await line.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert line.told[-1] == "UNSUB 1"
    assert line.waits_for == []


async def test_the_first_answer_is_the_answer_and_no_other_is_taken(ask: Ask) -> None:
    line = Line()
    asking = asyncio.ensure_future(ask(line, LONG_S))
    await line.asked.wait()
    assert line.told[1] == "UNSUB 1 1", "the bus forgets the inbox with the first answer"
    for data in (b"first", b"second"):
        await line.answered(data)
    assert (await asking).data == b"first"
    assert line.waits_for == []
    assert line.told[-1].startswith("PUB"), "nothing more is to be told"
