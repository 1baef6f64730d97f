"""The instances that this process is, which of its keys is of which, and how a key comes in: ready, or not there at all.

Every rotation waits for who has a lease of the key, so somebody must follow: whoever was given it, or still asks for it.
When the last who asked has gone without it, because it took too long or was cancelled, the key is given up.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from rekey.background import Background
from rekey.identity import Identity
from rekey.keystate import KeyState
from rekey.member import Member, Shared, size_of
from rekey.worker import KeyWorker
from rekey_core.authority import Stream, Subjects
from rekey_core.errors import (
    MalformedError,
    NotInstalledError,
    RekeyError,
    RetryableError,
    UnavailableError,
)
from rekey_core.readers import open_notice

JOIN_POLL_S: Final = 0.1  # how often a key that is not ready yet is looked at again


class Members:
    """One instance at first; more when its receipt has no room for another key."""

    def __init__(self, identity: Identity, shared: Shared, background: Background) -> None:
        self._shared = shared
        self._background = background
        self.first = Member(identity, shared)
        self._members = [self.first]
        self._member_of: dict[str, Member] = {}
        self._asking: Counter[str] = Counter()  # how many wait for a key to be ready
        self._over: str | None = None  # why no key may be used here ever again

    @property
    def instances(self) -> tuple[str, ...]:
        """The ids of all of them."""
        return tuple(member.identity.instance for member in self._members)

    def start(self) -> None:
        """Renew the leases of the first one; the others begin when they come."""
        self._background.start(self.first.renewing.for_ever())

    def of(self, name: str) -> Member:
        """The instance that has the key. Raises KeyError."""
        return self._member_of[name]

    def workers(self) -> list[KeyWorker]:
        """Of all keys, by their names."""
        return [member.workers[name] for name, member in sorted(self._member_of.items())]

    def heard(self, name: str) -> None:
        """Something is said of this key."""
        member = self._member_of.get(name)
        if member is not None:
            member.workers[name].poke()

    def poke(self) -> None:
        """Look at every key again, soon."""
        for member in self._members:
            member.poke()

    def end(self, why: str) -> None:
        """No key may be used any more, nor one that comes later."""
        self._over = why
        for worker in self.workers():
            worker.key.lease.end(why)

    async def leave(self) -> None:
        """End all leases; all keys must be closed."""
        await asyncio.gather(*(member.leave() for member in self._members))

    async def join(self, name: str, check: Callable[[KeyState], None]) -> KeyWorker:
        """The key, installed, current, leased and followed. ``check`` may refuse what it is found to be.

        Raises:
            RefusedError: leaves that say that it is not this dependent's, does not exist, or is for something else.
            UnavailableError: it was not ready within the settings' ``total_s``; says why.
        """
        self._asking[name] += 1
        try:
            worker = await self._ready(name, check)
            if worker.task is None:
                worker.task = self._background.start(worker.run())
            return worker
        finally:
            self._asking[name] -= 1
            if not self._asking[name]:
                del self._asking[name]
                self._give_up(name)

    async def _ready(self, name: str, check: Callable[[KeyState], None]) -> KeyWorker:
        total_s = self._shared.settings.total_s
        member = self._member_of.get(name) or await self._take_in(name)
        worker = member.workers[name]
        deadline = time.monotonic() + total_s
        while True:
            try:
                await worker.reconcile()
                check(worker.key)
                if name not in member.renewing.admitted or not worker.key.lease.is_valid:
                    await member.renewing.once(worker.key)
                if worker.key.is_ready:
                    return worker
                worker.key.problem = _not_ready(worker.key)
            except (RetryableError, MalformedError, NotInstalledError) as error:
                worker.key.problem = str(error)
            if time.monotonic() + JOIN_POLL_S >= deadline:
                raise UnavailableError(
                    f"key {name} is not ready after {total_s:g} s: {worker.key.problem}",
                    hint=f"rekey key show {name}; are the distributor and the rotation scheduler running?",
                )
            await asyncio.sleep(JOIN_POLL_S)

    async def _take_in(self, name: str) -> Member:
        """The instance that the key is of from now on: one that has room for it in its receipt."""
        size = await self._size_of(name)
        if name in self._member_of:  # somebody else asked for it meanwhile
            return self._member_of[name]
        member = next((one for one in self._members if one.has_room(size)), None) or self._another()
        worker = member.add(name, size)
        if self._over:
            worker.key.lease.end(self._over)
        self._member_of[name] = member
        return member

    async def _size_of(self, name: str) -> int:
        shared, settings = self._shared, self._shared.settings
        subject = Subjects(settings.env).notice(settings.dependent, name)
        try:
            message = await shared.connection.get(Stream.NOTICES, subject, settings.try_s)
            notice = await shared.trust.fresh(lambda trust: open_notice(message, trust)) if message else None
        except RekeyError:  # whatever is wrong is told by the pass that follows
            return size_of(None)
        return size_of(notice.model if notice else None)

    def _another(self) -> Member:
        identity = Identity.start(self._shared.settings, self.first.identity.transport)
        member = Member(identity, self._shared)
        self._background.start(member.renewing.for_ever())
        self._members.append(member)
        return member

    def _give_up(self, name: str) -> None:
        """A key that nobody was given leaves nothing behind: nobody would follow it, and every rotation would wait."""
        member = self._member_of.get(name)
        if member is not None and member.workers[name].task is None:
            member.forget(name)
            del self._member_of[name]


def _not_ready(key: KeyState) -> str:
    current = key.view.current
    if current is None:
        return "it has no active version yet"
    return f"it has no messages of version {current.version} yet"
