"""One run for everybody who asked before it began: what many keys need at once is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Grouped(Generic[T]):
    """An action that takes in everything that is there when it begins, such as writing a whole file."""

    def __init__(self, action: Callable[[], Awaitable[T]]) -> None:
        self._action = action
        self._turn = asyncio.Lock()
        self._asked = 0
        self._done: tuple[int, T] | None = None  # who had asked when the last run began, and what it returned

    async def run(self) -> T:
        """Return once a run that began after this call is over: an own one, or somebody else's. Raises what it raises."""
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._done is not None and self._done[0] >= mine:
                return self._done[1]
            asked = self._asked
            outcome = await self._action()
            self._done = (asked, outcome)
            return outcome
