"""One connection of one process: keys on demand, leases for all of them, everything else by itself in the background."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from rekey.background import Background, Handler
from rekey.beliefs import Stopped
from rekey.connection import Connection
from rekey.credentials import Login
from rekey.envelope import Envelope
from rekey.identity import Identity
from rekey.keyring import Keyring
from rekey.keystate import KeyState
from rekey.mac import Mac
from rekey.member import Member, Shared, size_of
from rekey.remote import Remote
from rekey.remote_keyring import RemoteKeyring
from rekey.remote_mac import RemoteMac
from rekey.renewing_certificate import renew_for_ever
from rekey.settings import Settings
from rekey.signer import Signer
from rekey.spans import written_to
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import SecretVersion
from rekey.worker import KeyWorker, Rotated
from rekey_core import authority
from rekey_core.authority import Stream, Subjects
from rekey_core.errors import (
    MalformedError,
    NotInstalledError,
    RekeyError,
    RetryableError,
    UnavailableError,
)
from rekey_core.readers import open_notice
from rekey_core.uses import Surface, check_surface

JOIN_POLL_S: Final = 0.1  # how often a key that is not ready yet is looked at again

_OPEN: Final[weakref.WeakSet[Keys]] = weakref.WeakSet()
_log = logging.getLogger(__name__)


class Messages(NamedTuple):
    """A quota: messages of one version that were granted to this instance in all, and how many it has left."""

    granted: int
    left: int


@dataclass(frozen=True)
class KeyStatus:
    """What people and probes may know of a key here."""

    key: str
    current: int | None
    held: tuple[int, ...]
    stopped: tuple[int, ...]
    lease_until: datetime | None
    messages: Messages | None  # to protect with ``current``; None where nobody counts them
    problem: str | None


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Keys]:
    """Connect this process as an instance of its dependent, for as long as the block runs.

    Raises:
        ConfigurationError: a key or certificate file cannot be used.
        UnavailableError: the bus does not answer.
        TrustError: the trust documents do not chain to the pinned genesis, or are older than what was seen before.
    """
    keys = Keys(settings)
    with written_to(settings.trace_file, settings.dependent):
        try:
            await keys.open()
            yield keys
        finally:
            await keys.close()


class Keys:
    """The keys of one process: one instance of its dependent, or several if it has many. Made by ``connect``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        identity = Identity.start(settings)
        self._connection = Connection(_login(settings))
        seen = Seen.load(settings.state_dir)
        self._trust = TrustCache(self._connection, settings.env, settings.trust_genesis, seen, settings.try_s)
        self._over: str | None = None  # why no key may be used here ever again
        self._background = Background(self._broken)
        self._on_rotated: list[Handler[Rotated]] = []
        self._on_stopped: list[Handler[Stopped]] = []
        self._shared = Shared(
            settings=settings,
            connection=self._connection,
            trust=self._trust,
            seen=seen,
            rotated=lambda event: self._background.tell(self._on_rotated, event),
            stopped=lambda event: self._background.tell(self._on_stopped, event),
        )
        self._members = [Member(identity, self._shared)]
        self._member_of: dict[str, Member] = {}

    @property
    def instance(self) -> str:
        """This instance's id; of the first one, if the keys take several."""
        return self._members[0].identity.instance

    @property
    def instances(self) -> tuple[str, ...]:
        """The ids of all instances that this process is."""
        return tuple(member.identity.instance for member in self._members)

    async def keyring(self, name: str) -> Keyring:
        """The key ``name`` for encrypt and decrypt here, installed, current and leased.

        Raises:
            NotGrantedError, NotFoundError: it is not this dependent's, or does not exist.
            UsageRefusedError: it is not such a key; the hint says which method is for it.
            UnavailableError: it was not ready within the settings' ``total_s``; says why.
        """
        key = (await self._join(name, Surface.KEYRING)).key
        return Keyring(key, key.lease)

    async def mac(self, name: str) -> Mac:
        """The key ``name`` for MACs here. Raises as ``keyring``."""
        key = (await self._join(name, Surface.MAC)).key
        return Mac(key, key.lease)

    async def signer(self, name: str) -> Signer:
        """The key ``name`` for signing inside the HSM. Raises as ``keyring``."""
        worker = await self._join(name, Surface.SIGNER)
        requests, again = self._member_of[name].requests, self._look_again(worker)
        return Signer(worker.key, worker.key.lease, requests, self._settings.total_s, again)

    async def envelope(self, name: str) -> Envelope:
        """The key ``name`` for wrapping data keys inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.ENVELOPE)
        return Envelope(self._settings.env, remote, self._member_of[name].sealed)

    async def remote_keyring(self, name: str) -> RemoteKeyring:
        """The key ``name`` for encrypt and decrypt inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.REMOTE_KEYRING)
        return RemoteKeyring(remote, self._member_of[name].sealed)

    async def remote_mac(self, name: str) -> RemoteMac:
        """The key ``name`` for MACs inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.REMOTE_MAC)
        return RemoteMac(remote, self._member_of[name].sealed)

    def on_rotated(self, handler: Handler[Rotated]) -> None:
        """Call this when a key protects with another version; a coroutine function is run as a task."""
        self._on_rotated.append(handler)

    def on_stopped(self, handler: Handler[Stopped]) -> None:
        """Call this when a version that is held here is stopped by a responder."""
        self._on_stopped.append(handler)

    def status(self) -> Mapping[str, KeyStatus]:
        """Each key: current version, versions held and stopped, end of the lease, last problem."""
        return {worker.key.name: self._status(worker.key) for worker in self._workers()}

    async def open(self) -> None:
        """Connect and start the background work. ``connect`` calls it."""
        await self._connection.open(self._settings.total_s)
        await self._trust.refresh()
        self._connection.on_reconnected(self._poke_all)
        for hears in authority.HEARS:
            if hears.listener is authority.Identity.APPLICATION:
                subject = hears.subject.format(env=self._settings.env, self=self._settings.dependent)
                await self._connection.hear(subject, self._heard)
        self._background.start(self._members[0].renewing.for_ever())
        self._background.start(renew_for_ever(self._connection, self._settings.total_s))
        _OPEN.add(self)

    async def close(self) -> None:
        """Stop; all keys refuse from now on. No receipt is sent: what was signed stays true.

        The lease is ended too, if bus and distributor are there; if not, it runs out by itself.

        Raises:
            Exception: the background work failed in a way that it must not; the first such failure.
        """
        self._end("the connection was closed")
        for worker in self._workers():
            worker.key.close()
        try:
            await self._background.stop()
            await asyncio.gather(*(member.leave() for member in self._members))
        finally:
            await self._connection.close()
        if self._background.failures:
            raise self._background.failures[0]

    async def _remote(self, name: str, surface: Surface) -> Remote:
        worker = await self._join(name, surface)
        return Remote(worker.key, worker.key.lease, self._settings.total_s, self._look_again(worker))

    def _look_again(self, worker: KeyWorker) -> Callable[[], None]:
        def look_again() -> None:
            worker.poke()
            self._member_of[worker.key.name].renewing.hurry()

        return look_again

    async def _join(self, name: str, surface: Surface) -> KeyWorker:
        member = self._member_of.get(name) or await self._take_in(name)
        worker = member.workers[name]
        deadline = time.monotonic() + self._settings.total_s
        while True:
            try:
                await worker.reconcile()
                _check_surface(worker.key, surface)
                if name not in member.renewing.admitted or not worker.key.lease.is_valid:
                    await member.renewing.once(worker.key)
                if worker.key.is_ready:
                    return self._joined(worker)
                worker.key.problem = "it has no active version yet"
            except (RetryableError, MalformedError, NotInstalledError) as error:
                worker.key.problem = str(error)
            except RekeyError:
                self._forget(name)
                raise
            if time.monotonic() + JOIN_POLL_S >= deadline:
                problem = worker.key.problem
                self._forget(name)
                raise UnavailableError(
                    f"key {name} is not ready after {self._settings.total_s:g} s: {problem}",
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
        settings = self._settings
        subject = Subjects(settings.env).notice(settings.dependent, name)
        try:
            message = await self._connection.get(Stream.NOTICES, subject, settings.try_s)
            notice = await self._trust.fresh(lambda trust: open_notice(message, trust)) if message else None
        except RekeyError:  # whatever is wrong is told by the pass that follows
            return size_of(None)
        return size_of(notice.model if notice else None)

    def _another(self) -> Member:
        member = Member(Identity.start(self._settings, self._members[0].identity.transport), self._shared)
        self._background.start(member.renewing.for_ever())
        self._members.append(member)
        return member

    def _joined(self, worker: KeyWorker) -> KeyWorker:
        if worker.task is None:
            worker.task = self._background.start(worker.run())
        return worker

    def _forget(self, name: str) -> None:
        """A key that was never admitted leaves nothing behind."""
        member = self._member_of.get(name)
        if member is not None and name not in member.renewing.admitted:
            member.forget(name)
            del self._member_of[name]

    def _workers(self) -> list[KeyWorker]:
        """Of all keys, by their names."""
        return [member.workers[name] for name, member in sorted(self._member_of.items())]

    def _status(self, key: KeyState) -> KeyStatus:
        current = key.view.current
        admitted = self._member_of[key.name].renewing.admitted
        quota = current.quota if isinstance(current, SecretVersion) and current.is_counted else None
        return KeyStatus(
            key=key.name,
            current=current.version if current else None,
            held=tuple(sorted(key.held)),
            stopped=tuple(sorted(key.stopped)),
            lease_until=key.lease.end_time() if key.name in admitted else None,
            messages=Messages(quota.total, quota.left) if quota else None,
            problem=key.problem,
        )

    def _heard(self, subject: str) -> None:
        name = subject.rpartition(".")[2]
        member = self._member_of.get(name)
        if member is not None:
            member.workers[name].poke()

    def _broken(self, failure: BaseException) -> None:
        self._end(f"the background work failed: {type(failure).__name__}: {failure}")

    def _end(self, why: str) -> None:
        self._over = why
        for worker in self._workers():
            worker.key.lease.end(why)

    def _poke_all(self) -> None:
        for member in self._members:
            member.poke()


def _forked() -> None:
    """In the child of a fork: what was given was given to the parent, which goes on with it."""
    for keys in _OPEN:
        keys._end("this process is a fork of the one that connected, connect again here")  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forked)


def _check_surface(key: KeyState, surface: Surface) -> None:
    if key.algorithm is not None and key.release is not None:
        check_surface(key.name, key.algorithm, key.release, surface)


def _login(settings: Settings) -> Login:
    return Login(
        bus_url=settings.bus_url,
        server_name=settings.server_name,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        tls_ca=settings.tls_ca,
        name=settings.dependent,
    )
