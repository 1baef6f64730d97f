"""Group commit: what is to be stored while one atomic batch is on its way goes into the next one, all at once.

Who is alone waits for nobody. Of many at once each waits for the batch before its own, and bus and disk are asked once for
all of them. Only what one process says to one stream goes together, and at most one message for each check, since checks
see the state before the batch (DESIGN §3).

What becomes of a batch says this of those in it. Stored: all are. Refused: none is, and the server does not say whose check
was wrong, so each is tried alone, and only who was late hears of it. Not known: it is not known of any, and each reads back
what is its own. Who stops waiting stops nobody else: what was not sent yet is left out, what was sent is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rekey_core.authority import Stream
from rekey_core.envelope import Packed
from rekey_core.errors import RekeyError, UnknownOutcomeError

MAX_BATCH: Final = 1000  # messages of one atomic batch: nats-server's streamDefaultMaxBatchSize
ALONE: Final = (
    16  # tried at once; of nats-server's 50 open batches of a stream (streamDefaultMaxBatchInflightPerStream)
)


@dataclass(frozen=True)
class BatchItem:
    """One message of an atomic batch; the check sees the state before the batch, so one message per key at most."""

    subject: str
    packed: Packed
    expected_last: int | None = None
    check_subject: str | None = None


@dataclass(frozen=True)
class Ready:
    """A message as it goes to the bus; ``check``: whose last sequence it depends on, its own subject's at least."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    check: str


Store = Callable[[Sequence[Ready]], Awaitable[int]]


@dataclass(frozen=True)
class _Unit:
    """Messages that are stored together or not at all, and whoever waits for that."""

    messages: tuple[Ready, ...]
    stored: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def checks(self) -> set[str]:
        return {message.check for message in self.messages}

    def settle(self, sequence: int) -> None:
        if not self.stored.done():  # else who waited does not wait any more
            self.stored.set_result(sequence)

    def fail(self, error: BaseException, others: int) -> None:
        if self.stored.done():
            return
        if isinstance(error, RekeyError) and others:  # an error of its own that names its own message
            text = f"{self.messages[-1].subject}: in one batch with {others} others: {error}"
            error = type(error)(text, hint=error.hint)
        self.stored.set_exception(error)


class Waves:
    """``store``: stores all messages in one step, or none, and says the sequence of the last; raises as ``Bus.publish``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Stream, list[_Unit]] = {}
        self._flowing: dict[Stream, asyncio.Task[None]] = {}

    async def join(self, stream: Stream, messages: Sequence[Ready]) -> int:
        """Return once all of the messages are stored: the sequence of the last. Raises what ``store`` raises for them."""
        if not 1 <= len(messages) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages, found {len(messages)}")
        unit = _Unit(tuple(messages))
        self._waiting.setdefault(stream, []).append(unit)
        if stream not in self._flowing:
            self._flowing[stream] = asyncio.create_task(self._flow(stream))
        return await unit.stored

    async def _flow(self, stream: Stream) -> None:
        """One wave after the other until nobody waits; a task of its own, since who waits may be cancelled."""
        wave: Sequence[_Unit] = ()
        try:
            while wave := self._next(stream):
                await self._send(wave)
        finally:
            del self._flowing[stream]
            for unit in (*wave, *self._waiting.pop(stream)):
                unit.fail(UnknownOutcomeError(f"{unit.messages[-1].subject}: the process ends"), 0)

    def _next(self, stream: Stream) -> Sequence[_Unit]:
        """Those who wait longest, and nobody who does not wait any more; one for each check."""
        wave: list[_Unit] = []
        left: list[_Unit] = []
        checks: set[str] = set()
        count = 0
        for unit in self._waiting[stream]:
            if unit.stored.done():
                continue
            if unit.checks & checks or count + len(unit.messages) > MAX_BATCH:
                left.append(unit)
                continue
            wave.append(unit)
            checks |= unit.checks
            count += len(unit.messages)
        self._waiting[stream] = left
        return wave

    async def _send(self, wave: Sequence[_Unit]) -> None:
        error = await self._try(wave)
        if error is None:
            return
        if len(wave) == 1 or isinstance(error, UnknownOutcomeError) or not isinstance(error, RekeyError):
            for unit in wave:
                unit.fail(error, len(wave) - 1)
            return
        room = asyncio.Semaphore(ALONE)
        await asyncio.gather(*(self._alone(unit, room) for unit in wave))

    async def _alone(self, unit: _Unit, room: asyncio.Semaphore) -> None:
        async with room:
            error = None if unit.stored.done() else await self._try([unit])
        if error is not None:
            unit.fail(error, 0)

    async def _try(self, wave: Sequence[_Unit]) -> BaseException | None:
        """Store all of it and say so to each, or why not, whatever it was that ended it."""
        messages = [message for unit in wave for message in unit.messages]
        storing = asyncio.ensure_future(self._store(messages))
        await asyncio.wait([storing])
        error = storing.exception()
        if error is None:
            sequence = storing.result() - len(messages)  # a batch is stored without gaps
            for unit in wave:
                sequence += len(unit.messages)
                unit.settle(sequence)
        return error
