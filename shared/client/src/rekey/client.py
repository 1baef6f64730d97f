"""One connection of one instance: keys on demand, a lease for all of them, everything else by itself in the background."""

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
from rekey.leaving import leave
from rekey.mac import Mac
from rekey.receipts import Receipts
from rekey.remote import Remote
from rekey.remote_keyring import RemoteKeyring
from rekey.remote_mac import RemoteMac
from rekey.renewing import Renewing
from rekey.renewing_certificate import renew_for_ever
from rekey.requests import Requests
from rekey.sealed import Sealed
from rekey.settings import Settings
from rekey.signer import Signer
from rekey.spans import written_to
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import SecretVersion
from rekey.worker import KeyWorker, Ports, Rotated
from rekey_core import authority
from rekey_core.contracts import KeyReceipt
from rekey_core.errors import (
    MalformedError,
    NotInstalledError,
    RekeyError,
    RetryableError,
    UnavailableError,
)
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
    """The keys of one instance. Made by ``connect``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        seen = Seen.load(settings.state_dir)
        identity = Identity.start(settings)
        self._connection = Connection(_login(settings))
        self._trust = TrustCache(self._connection, settings.env, settings.trust_genesis, seen, settings.try_s)
        self._requests = Requests(self._connection, identity, self._trust, settings.try_s)
        self._sealed = Sealed(self._requests)
        self._receipts = Receipts(self._connection, identity, settings.try_s, self._content)
        self._over: str | None = None  # why no key may be used here ever again
        self._workers: dict[str, KeyWorker] = {}
        self._renewing = Renewing(self._requests, self._receipts, self._poke_all, settings.longest_lease_s)
        self._background = Background(self._broken)
        self._on_rotated: list[Handler[Rotated]] = []
        self._on_stopped: list[Handler[Stopped]] = []
        self._ports = Ports(
            connection=self._connection,
            identity=identity,
            trust=self._trust,
            seen=seen,
            requests=self._requests,
            receipts=self._receipts,
            within_s=settings.try_s,
            renew=self._renewing.once,
            rotated=lambda event: self._background.tell(self._on_rotated, event),
            stopped=lambda event: self._background.tell(self._on_stopped, event),
        )

    @property
    def instance(self) -> str:
        """This instance's id."""
        return self._ports.identity.instance

    async def keyring(self, name: str) -> Keyring:
        """The key ``name`` for encrypt and decrypt here, installed, current and leased.

        Raises:
            NotGrantedError, NotFoundError: it is not this dependent's, or does not exist.
            UsageRefusedError: it is not such a key; the hint says which method is for it.
            UnavailableError: it was not ready within the settings' ``total_s``; says why.
        """
        worker = await self._join(name, Surface.KEYRING)
        return Keyring(worker.key, worker.key.lease)

    async def mac(self, name: str) -> Mac:
        """The key ``name`` for MACs here. Raises as ``keyring``."""
        worker = await self._join(name, Surface.MAC)
        return Mac(worker.key, worker.key.lease)

    async def signer(self, name: str) -> Signer:
        """The key ``name`` for signing inside the HSM. Raises as ``keyring``."""
        worker = await self._join(name, Surface.SIGNER)
        again = self._look_again(worker)
        return Signer(worker.key, worker.key.lease, self._requests, self._settings.total_s, again)

    async def envelope(self, name: str) -> Envelope:
        """The key ``name`` for wrapping data keys inside the HSM. Raises as ``keyring``."""
        remote = await self._remote(name, Surface.ENVELOPE)
        return Envelope(self._settings.env, remote, self._sealed)

    async def remote_keyring(self, name: str) -> RemoteKeyring:
        """The key ``name`` for encrypt and decrypt inside the HSM. Raises as ``keyring``."""
        return RemoteKeyring(await self._remote(name, Surface.REMOTE_KEYRING), self._sealed)

    async def remote_mac(self, name: str) -> RemoteMac:
        """The key ``name`` for MACs inside the HSM. Raises as ``keyring``."""
        return RemoteMac(await self._remote(name, Surface.REMOTE_MAC), self._sealed)

    def on_rotated(self, handler: Handler[Rotated]) -> None:
        """Call this when a key protects with another version; a coroutine function is run as a task."""
        self._on_rotated.append(handler)

    def on_stopped(self, handler: Handler[Stopped]) -> None:
        """Call this when a version that is held here is stopped by a responder."""
        self._on_stopped.append(handler)

    def status(self) -> Mapping[str, KeyStatus]:
        """Each key: current version, versions held and stopped, end of the lease, last problem."""
        return {name: self._status(worker.key) for name, worker in sorted(self._workers.items())}

    async def open(self) -> None:
        """Connect and start the background work. ``connect`` calls it."""
        await self._connection.open(self._settings.total_s)
        await self._trust.refresh()
        self._connection.on_reconnected(self._poke_all)
        for hears in authority.HEARS:
            if hears.listener is authority.Identity.APPLICATION:
                subject = hears.subject.format(env=self._settings.env, self=self._settings.dependent)
                await self._connection.hear(subject, self._heard)
        self._background.start(self._renewing.for_ever())
        self._background.start(renew_for_ever(self._connection, self._settings.total_s))
        _OPEN.add(self)

    async def close(self) -> None:
        """Stop; all keys refuse from now on. No receipt is sent: what was signed stays true.

        The lease is ended too, if bus and distributor are there; if not, it runs out by itself.

        Raises:
            Exception: the background work failed in a way that it must not; the first such failure.
        """
        self._end("the connection was closed")
        for worker in self._workers.values():
            worker.key.close()
        try:
            await self._background.stop()
            admitted = [self._workers[name] for name in self._renewing.admitted]
            await leave(admitted, self._requests, self._receipts, self._renewing.asking)
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
            self._renewing.hurry()

        return look_again

    async def _join(self, name: str, surface: Surface) -> KeyWorker:
        worker = self._workers.get(name) or self._worker(name)
        deadline = time.monotonic() + self._settings.total_s
        while True:
            try:
                await worker.reconcile()
                _check_surface(worker.key, surface)
                if name not in self._renewing.admitted or not worker.key.lease.is_valid:
                    await self._renewing.once(worker.key)
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

    def _worker(self, name: str) -> KeyWorker:
        key = KeyState(name)
        self._renewing.watch(key)
        if self._over:
            key.lease.end(self._over)
        worker = self._workers[name] = KeyWorker(key, self._ports)
        return worker

    def _joined(self, worker: KeyWorker) -> KeyWorker:
        if worker.task is None:
            worker.task = self._background.start(worker.run())
        return worker

    def _forget(self, name: str) -> None:
        """A key that was never admitted leaves nothing behind."""
        if name not in self._renewing.admitted:
            self._workers.pop(name, None)

    def _content(self) -> Mapping[str, KeyReceipt]:
        return {name: worker.key.receipt() for name, worker in sorted(self._workers.items())}

    def _status(self, key: KeyState) -> KeyStatus:
        current = key.view.current
        quota = current.quota if isinstance(current, SecretVersion) and current.is_counted else None
        return KeyStatus(
            key=key.name,
            current=current.version if current else None,
            held=tuple(sorted(key.held)),
            stopped=tuple(sorted(key.stopped)),
            lease_until=key.lease.end_time() if key.name in self._renewing.admitted else None,
            messages=Messages(quota.total, quota.left) if quota else None,
            problem=key.problem,
        )

    def _heard(self, subject: str) -> None:
        worker = self._workers.get(subject.rpartition(".")[2])
        if worker is not None:
            worker.poke()

    def _broken(self, failure: BaseException) -> None:
        self._end(f"the background work failed: {type(failure).__name__}: {failure}")

    def _end(self, why: str) -> None:
        self._over = why
        for worker in self._workers.values():
            worker.key.lease.end(why)

    def _poke_all(self) -> None:
        for worker in self._workers.values():
            worker.poke()


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
