"""Calls that are done inside the HSM: in turn, again until they work, and never under a version that was left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.retry import persistently
from rekey.versions import Version
from rekey_core.errors import ExpiredError, StateRefusedError, UnavailableError

MAX_IN_FLIGHT: Final = (
    16  # requests of one key at a time: after an outage what waited comes in turn, not at once
)

T = TypeVar("T")
Work = Callable[[Version], Awaitable[T]]


class Remote:
    """How one key is asked. ``look_again`` is called when the distributor knows more of the key than we do."""

    __slots__ = ("_look_again", "_total_s", "_turns", "key", "lease")

    def __init__(
        self, key: KeyState, lease: LeaseClock, total_s: float, look_again: Callable[[], None]
    ) -> None:
        self.key = key
        self.lease = lease
        self._total_s = total_s
        self._look_again = look_again
        self._turns = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def protect(self, work: Work[T]) -> T:
        """Do the work with the version that protects.

        Raises:
            UnavailableError: it did not work within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version.
            NotGrantedError: the key is no longer this dependent's.
        """
        return await self._persistently(lambda: self._protect(work))

    async def process(self, name: int | str, work: Work[T]) -> T:
        """Do the work with the version whose data carries this id. Raises as ``protect`` and ``KeyState.find``."""
        return await self._persistently(lambda: self._process(name, work))

    async def _persistently(self, once: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            async with self._turns:  # before a version is entered: a switch must not wait for those that wait
                return await once()

        return await persistently(in_turn, self._total_s, what=f"key {self.key.name}")

    async def _protect(self, work: Work[T]) -> T:
        self.lease.check(self.key.name)
        version = self.key.enter()
        try:
            return await self._asked(work(version))
        finally:
            version.in_flight.leave()

    async def _process(self, name: int | str, work: Work[T]) -> T:
        self.lease.check(self.key.name)
        return await self._asked(work(self.key.find(name)))

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (StateRefusedError, ExpiredError) as error:  # the distributor knows more: find out what
            self._look_again()
            raise UnavailableError(str(error), hint=error.hint) from error
