"""People who look again and again: each keeps one connection while it answers, since a new one costs a handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rekey.cli.errors import AnsweredError
from rekey_local.commands import People, Reader

T = TypeVar("T")


class Readers:
    """One reader for each person, made when they first ask. Of one event loop."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._known: dict[str, _Kept] = {}

    async def read(self, person: str, question: Callable[[Reader], Awaitable[T]]) -> T:
        """What the reader says. Raises what it raises; if that is no answer, who asks next gets a new connection."""
        kept = self._known.get(person)
        if kept is None:
            kept = self._known[person] = _Kept(self._people, person)
        try:
            return await question(await kept.reader())
        except AnsweredError:
            raise
        except BaseException:
            if self._known.get(person) is kept:
                del self._known[person]
            await kept.leave()
            raise

    async def leave(self) -> None:
        """Close every connection."""
        while self._known:
            _, kept = self._known.popitem()
            await kept.leave()


class _Kept:
    """A connection that is opened and closed by one task, as its context manager demands."""

    def __init__(self, people: People, person: str) -> None:
        self._people = people
        self._person = person
        self._reader: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._stay())

    async def reader(self) -> Reader:
        """Once it is connected. Raises why it is not."""
        return await asyncio.shield(self._reader)

    async def leave(self) -> None:
        """Close it, if it is open."""
        self._over.set()
        await asyncio.shield(self._task)

    async def _stay(self) -> None:
        try:
            async with self._people.reading(self._person) as reader:
                self._reader.set_result(reader)
                await self._over.wait()
        except Exception as error:
            if self._reader.done():
                raise
            self._reader.set_exception(error)
