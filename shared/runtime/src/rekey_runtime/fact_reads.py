"""Reads of facts, many in one: what is asked while an answer is on its way is asked next, in one question for all.

An answer is never one to a question that was sent before somebody asked: who joins gets what the bus has afterwards. These
are direct reads, which may be behind the leader; they are never short without saying so, and what is there is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage
from rekey_core.errors import RekeyError
from rekey_runtime import wire
from rekey_runtime.bus import Bus

MAX_KEYS: Final = (
    64  # in one question; nats-server answers with 1,024 subjects at most (413), a key has some ten
)
MAX_PLACES: Final = 500  # in one question, as in a page of a rebuild
_KEY: Final = 2  # evt.<env>.<key>.…
_Asked = tuple[str, int]  # a key, and from which sequence on where there is very much

Q = TypeVar("Q")
A = TypeVar("A")


class Gathering(Generic[Q, A]):
    """``ask``: the answers to so many questions at once, to those at least that have one."""

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Mapping[Q, A]]], most: int) -> None:
        self._ask = ask
        self._most = most
        self._waiting: dict[Q, list[asyncio.Future[A | None]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def answer(self, question: Q) -> A | None:
        """What is found, or None. Raises what ``ask`` raises, for all that it was asked."""
        answer: asyncio.Future[A | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(question, []).append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        """Until nobody waits; a task of its own, since who waits may be cancelled."""
        try:
            while self._waiting:
                questions = list(self._waiting)[: self._most]
                await self._asked({question: self._waiting.pop(question) for question in questions})
        finally:
            self._asking = None

    async def _asked(self, waiting: Mapping[Q, list[asyncio.Future[A | None]]]) -> None:
        asking = asyncio.ensure_future(self._ask(list(waiting)))
        await asyncio.wait([asking])  # whatever ends it ends it for all who wait
        error = asking.exception()
        for question, answers in waiting.items():
            for answer in answers:
                if answer.done():  # who asked does not wait any more
                    continue
                if error is None:
                    answer.set_result(asking.result().get(question))
                else:
                    answer.set_exception(_own(error))


class FactReads:
    """The facts of keys, and single facts by their place in the stream."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._keys: Gathering[_Asked, list[BusMessage]] = Gathering(self._of_keys, MAX_KEYS)
        self._places: Gathering[int, BusMessage] = Gathering(self._at, MAX_PLACES)

    async def of_key(self, key: str, *, start: int) -> list[BusMessage]:
        """Every fact of a key, oldest first; where there are very many, those from ``start`` on. Raises as ``read_many``."""
        return await self._keys.answer((key, start)) or []

    async def at(self, sequence: int) -> BusMessage | None:
        """The message with this sequence, if whoever answers has it already. Raises as ``read_many``."""
        return await self._places.answer(sequence)

    async def _of_keys(self, asked: Sequence[_Asked]) -> Mapping[_Asked, list[BusMessage]]:
        checks = {self._bus.subjects.check(key): key for key, _ in asked}
        if len(checks) == 1:
            [check], start = checks, min(start for _, start in asked)
            return dict.fromkeys(asked, await self._bus.read_many(Stream.LIFECYCLE, [check], start=start))
        try:
            messages = await self._bus.read_last(Stream.LIFECYCLE, list(checks))
        except wire.TooManySubjectsError:  # of some of them, or of all together
            half = len(asked) // 2
            one, other = await asyncio.gather(self._of_keys(asked[:half]), self._of_keys(asked[half:]))
            return {**one, **other}
        found: dict[str, list[BusMessage]] = {key: [] for key in checks.values()}
        for message in messages:
            found[message.subject.split(".")[_KEY]].append(message)
        return {question: found[question[0]] for question in asked}

    async def _at(self, sequences: Sequence[int]) -> Mapping[int, BusMessage]:
        reads = [self._bus.read_page(Stream.LIFECYCLE, *run) for run in _runs(sequences)]
        return {message.sequence: message for page in await asyncio.gather(*reads) for message in page}


def _runs(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """The first of each run without gaps, and how many they are: what was stored in one batch is one."""
    runs: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if runs and sum(runs[-1]) == sequence:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((sequence, 1))
    return runs


def _own(error: BaseException) -> BaseException:
    """An error for each who waits: each raises its own."""
    return type(error)(str(error), hint=error.hint) if isinstance(error, RekeyError) else error
