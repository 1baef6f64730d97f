"""One connection of one process: keys on demand, leases for all of them, everything else by itself in the background."""

from __future__ import annotations

import logging
import os
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
from rekey.events import Events, Resumed, Rotated
from rekey.identity import Identity
from rekey.keyring import Keyring
from rekey.keystate import KeyState
from rekey.mac import Mac
from rekey.member import Shared
from rekey.members import Members
from rekey.remote import Remote
from rekey.remote_keyring import RemoteKeyring
from rekey.remote_mac import RemoteMac
from rekey.renewing_certificate import renew_for_ever
from rekey.settings import Settings
from rekey.signer import Signer
from rekey.spans import written_to
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import SecretVersion
from rekey.worker import KeyWorker
from rekey_core import authority
from rekey_core.uses import Surface, check_surface

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
        self._background = Background(self._broken)
        self._on_rotated: list[Handler[Rotated]] = []
        self._on_stopped: list[Handler[Stopped]] = []
        self._on_resumed: list[Handler[Resumed]] = []
        events = Events(
            rotated=lambda event: self._background.tell(self._on_rotated, event),
            stopped=lambda event: self._background.tell(self._on_stopped, event),
            resumed=lambda event: self._background.tell(self._on_resumed, event),
        )
        shared = Shared(settings, self._connection, self._trust, seen, events)
        self._members = Members(identity, shared, self._background)

    @property
    def instance(self) -> str:
        """This instance's id; of the first one, if the keys take several."""
        return self._members.instances[0]

    @property
    def instances(self) -> tuple[str, ...]:
        """The ids of all instances that this process is."""
        return self._members.instances

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
        requests, again = self._members.of(name).requests, self._look_again(worker)
        return Signer(worker.key, worker.key.lease, requests, self._settings.total_s, again)

    async def envelope(self, name: str) -> Envelope:
        """The key ``name`` for wrapping data keys inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.ENVELOPE)
        return Envelope(self._settings.env, remote, self._members.of(name).sealed)

    async def remote_keyring(self, name: str) -> RemoteKeyring:
        """The key ``name`` for encrypt and decrypt inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.REMOTE_KEYRING)
        return RemoteKeyring(remote, self._members.of(name).sealed)

    async def remote_mac(self, name: str) -> RemoteMac:
        """The key ``name`` for MACs inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.REMOTE_MAC)
        return RemoteMac(remote, self._members.of(name).sealed)

    def on_rotated(self, handler: Handler[Rotated]) -> None:
        """Call this when a key protects with another version; a coroutine function is run as a task."""
        self._on_rotated.append(handler)

    def on_stopped(self, handler: Handler[Stopped]) -> None:
        """Call this when a version that is held here is stopped by a responder."""
        self._on_stopped.append(handler)

    def on_resumed(self, handler: Handler[Resumed]) -> None:
        """Call this when a version that was stopped can be used here again: two people lifted its suspension."""
        self._on_resumed.append(handler)

    def status(self) -> Mapping[str, KeyStatus]:
        """Each key: current version, versions held and stopped, end of the lease, last problem."""
        return {worker.key.name: self._status(worker.key) for worker in self._members.workers()}

    async def open(self) -> None:
        """Connect and start the background work. ``connect`` calls it."""
        await self._connection.open(self._settings.total_s)
        await self._trust.refresh()
        self._connection.on_reconnected(self._members.poke)
        for hears in authority.HEARS:
            if hears.listener is authority.Identity.APPLICATION:
                subject = hears.subject.format(env=self._settings.env, self=self._settings.dependent)
                await self._connection.hear(subject, self._heard)
        self._members.start()
        self._background.start(renew_for_ever(self._connection, self._settings.total_s))
        _OPEN.add(self)

    async def close(self) -> None:
        """Stop; all keys refuse from now on. No receipt is sent: what was signed stays true.

        The lease is ended too, if bus and distributor are there; if not, it runs out by itself.

        Raises:
            Exception: the background work failed in a way that it must not; the first such failure.
        """
        self._end("the connection was closed")
        for worker in self._members.workers():
            worker.key.close()
        try:
            await self._background.stop()
            await self._members.leave()
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
            self._members.of(worker.key.name).renewing.hurry()

        return look_again

    async def _join(self, name: str, surface: Surface) -> KeyWorker:
        def check(key: KeyState) -> None:
            if key.algorithm is not None and key.release is not None:
                check_surface(key.name, key.algorithm, key.release, surface)

        return await self._members.join(name, check)

    def _status(self, key: KeyState) -> KeyStatus:
        current = key.view.current
        admitted = self._members.of(key.name).renewing.admitted
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
        self._members.heard(subject.rpartition(".")[2])

    def _broken(self, failure: BaseException) -> None:
        self._end(f"the background work failed: {type(failure).__name__}: {failure}")

    def _end(self, why: str) -> None:
        self._members.end(why)


def _forked() -> None:
    """In the child of a fork: what was given was given to the parent, which goes on with it."""
    for keys in _OPEN:
        keys._end("this process is a fork of the one that connected, connect again here")  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forked)


def _login(settings: Settings) -> Login:
    return Login(
        bus_url=settings.bus_url,
        server_name=settings.server_name,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        tls_ca=settings.tls_ca,
        name=settings.dependent,
    )
