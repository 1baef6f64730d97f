"""Brings one key from what is to what should be: level-triggered, the same steps whatever the reason (DESIGN §3).

Run on start, reconnect, pokes, each lease renewal and after errors. Lost, doubled and reordered pokes do no harm, because a
poke says nothing: notice and stop are read as they are. Stops come first, before anything that could fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rekey.beliefs import Believed, Lifts, Stopped, believe, believed_lifts, believed_stops
from rekey.connection import Connection
from rekey.events import Events, Resumed, Rotated
from rekey.identity import Identity
from rekey.installing import Installing
from rekey.keystate import KeyState
from rekey.receipts import Receipts
from rekey.reconcile import Plan, plan
from rekey.requests import Requests
from rekey.retry import pause_s
from rekey.spans import following, led_by
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import (
    RemoteSecretVersion,
    RemoteVersion,
    Version,
    check_probe,
)
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import KeyReceipt, Notice, Stop
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import MalformedError, RecordError, RefusedError, RekeyError, StaleReadError
from rekey_core.readers import open_notice, open_stop
from rekey_core.tracecontext import Attribute, Attributes
from rekey_core.trust import Trust

DRAIN_POLL_S: Final = 0.005

Opener = Callable[[BusMessage, Trust], Stored[Notice] | Stored[Stop]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ports:
    """What a worker works with."""

    connection: Connection
    identity: Identity
    trust: TrustCache
    seen: Seen
    requests: Requests
    receipts: Receipts
    within_s: float
    renew: Callable[
        [str], Awaitable[None]
    ]  # leases and quotas for every key; raises what is wrong with this one
    stated: Callable[[str], None]  # the receipt says something new of the key
    events: Events


class KeyWorker:
    """The one who changes a key's state."""

    def __init__(self, key: KeyState, ports: Ports) -> None:
        self.key = key
        self._ports = ports
        self._subjects = Subjects(ports.identity.env)
        self._dirty = asyncio.Event()
        self._alarmed = asyncio.Event()
        self._installing = Installing(key, ports.requests, ports.trust, ports.identity)
        self._turn = asyncio.Lock()
        self._newest: BusMessage | None = None  # of notice and stop: what the next pass follows
        self._opened: tuple[BusMessage, Trust, Stored[Notice]] | None = None
        self._lifting: tuple[Notice, Trust, tuple[Lifts, tuple[str, ...]]] | None = None
        self._stated: KeyReceipt | None = None  # by the newest pass
        self._lifted: set[int] = set()  # versions that two people resumed, until they are held again
        self.task: asyncio.Task[None] | None = None  # set by who starts run()

    def poke(self) -> None:
        """Look again, soon."""
        self._alarmed.set()
        self._dirty.set()

    async def run(self) -> None:
        """Work until cancelled. Stops have a loop of their own: they wait for no answer that a pass waits for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._alarmed, self.heed))
            group.create_task(self._again(self._dirty, self.reconcile))

    async def _again(self, poked: asyncio.Event, work: Callable[[], Awaitable[object]]) -> None:
        failures = 0
        while True:
            await poked.wait()
            poked.clear()
            try:
                await work()
                failures = 0
            except RekeyError as error:
                failures += 1
                self.key.problem = str(error)
                _log.warning(
                    "key %s: %s",
                    self.key.name,
                    error,
                    extra={"event": "reconcile-failed", "code": error.code},
                )
                await _pause(poked, pause_s(failures))

    async def heed(self) -> tuple[BusMessage | None, tuple[Stopped, ...]]:
        """Read notice and stop, and stop what a responder says there; the notice, and the stops of this moment.

        Neither distributor nor revocation can keep a responder's command from us: either message is enough. What two people
        lifted is told by the distributor, who has checked it against the whole log.
        """
        ports, name, dependent = self._ports, self.key.name, self._ports.identity.dependent
        notice, stop = await asyncio.gather(
            ports.connection.get(Stream.NOTICES, self._subjects.notice(dependent, name), ports.within_s),
            ports.connection.get(Stream.NOTICES, self._subjects.stop(dependent, name), ports.within_s),
            return_exceptions=True,
        )
        said = ((notice, self._open_notice), (stop, open_stop))
        messages = [(found, opened) for found, opened in said if isinstance(found, BusMessage)]
        self._newest = max((found for found, _ in messages), key=lambda m: m.stored_at, default=None)
        stops, doubts = self._heard(messages, ports.trust.current)
        if doubts:  # somebody may be newer than the trust document that we have
            stops, doubts = self._heard(messages, await ports.trust.refresh())
        for doubt in doubts:
            self._doubt(doubt)
        for found in (notice, stop):
            if isinstance(found, BaseException):
                raise found
        return (notice if isinstance(notice, BusMessage) else None), stops

    def _heard(
        self, messages: Sequence[tuple[BusMessage, Opener]], trust: Trust
    ) -> tuple[tuple[Stopped, ...], list[str]]:
        stops: tuple[Stopped, ...] = ()
        doubts: list[str] = []
        told: list[Stored[Notice] | Stored[Stop]] = []
        for message, opened in messages:
            try:
                told.append(opened(message, trust))
            except (MalformedError, RefusedError) as error:
                doubts.append(str(error))
        doubts += self._lift(told, trust)
        for said in told:
            found, more = believed_stops(said.model.stopped, self.key.name, trust, said.stored_at)
            doubts += more
            stops += found
        self._stop(self._plan(None, stops))
        return stops, doubts

    def _lift(self, told: Sequence[Stored[Notice] | Stored[Stop]], trust: Trust) -> tuple[str, ...]:
        """Take back what is lifted, before the stops of this moment are read; what is wrong with the rest."""
        doubts: tuple[str, ...] = ()
        for said in told:
            if isinstance(said.model, Notice):
                lifts, doubts = self._lifts(said.model, trust, said.stored_at)
                for number in self.key.lift(lifts):
                    self._lifted.add(number)
                    _log.warning("resumed %s@%d", self.key.name, number, extra={"event": "version-resumed"})
        return doubts

    def _lifts(self, notice: Notice, trust: Trust, stored_at: datetime) -> tuple[Lifts, tuple[str, ...]]:
        """Verified once: what was opened once lifts the same under the same document."""
        known = self._lifting
        if known is None or known[0] is not notice or known[1] is not trust:
            known = self._lifting = (notice, trust, believed_lifts(notice, trust, stored_at))
        return known[2]

    def _open_notice(self, message: BusMessage, trust: Trust) -> Stored[Notice]:
        """Verified and read once: the same bytes in the same place under the same document are what they were."""
        known = self._opened
        if known is None or known[0] != message or known[1] is not trust:
            known = self._opened = (message, trust, open_notice(message, trust))
        return known[2]

    def _plan(self, believed: Believed | None, stops: Sequence[Stopped]) -> Plan:
        key = self.key
        return plan(
            believed,
            stops,
            held=key.held,
            current=key.newest or None,
            stopped=key.stopped,
            lifts=key.lifted,
            idle=key.view.current is None,
        )

    def _stop(self, todo: Plan) -> None:
        for stop in self.key.stop(todo.stop) if todo.stop else ():
            _log.warning("stopped %s@%d", stop.key, stop.version, extra={"event": "version-stopped"})
            self._ports.events.stopped(stop)

    async def reconcile(self) -> None:
        """One pass. Raises whatever step failed; the steps before it count, and the next pass goes on from there."""
        async with self._turn:
            notice, stops = await self.heed()
            identity = self._ports.identity
            names: Attributes = {
                Attribute.KEY: self.key.name,
                Attribute.DEPENDENT: identity.dependent,
                Attribute.INSTANCE: identity.instance,
            }
            with following(led_by(self._newest, datetime.now(UTC)), "follow", names):
                await self._follow(notice, stops)

    async def _follow(self, notice: BusMessage | None, stops: Sequence[Stopped]) -> None:
        believed = await self._believed(notice)
        if believed:
            self.key.learn(believed.ids)
        todo = self._plan(believed, stops)
        self._stop(todo)
        self._drop(believed)
        problem = await self._installing.install(todo.install, believed) if believed else None
        try:
            if todo.switch_to in self.key.held:
                await self._fund(todo.switch_to)
                self._switch(todo.switch_to)
            self._tell_resumed()
            await self._confirm()
        except RekeyError as error:
            problem = error
        if believed:
            self.key.as_of = believed.notice.as_of
        await self._write(problem)
        if believed:
            await self._ports.seen.note_as_of(self.key.name, believed.notice.as_of)

    def _drop(self, believed: Believed | None) -> None:
        for number in self.key.destroy(believed.destroyed) if believed and believed.destroyed else ():
            _log.warning("destroyed %s@%d", self.key.name, number, extra={"event": "version-destroyed"})

    async def _write(self, problem: RekeyError | None) -> None:
        """The receipt of what was done, also when something else was not."""
        await self._ports.receipts.write()
        stated = self.key.receipt()
        if stated != self._stated:
            self._stated = stated
            self._ports.stated(self.key.name)
        self.key.problem = str(problem) if problem else None
        if problem:
            raise problem

    async def _believed(self, message: BusMessage | None) -> Believed | None:
        if message is None:
            return None
        notice = (await self._ports.trust.fresh(lambda trust: self._open_notice(message, trust))).model
        oldest = max(self.key.as_of, self._ports.seen.as_of.get(self.key.name, 0))
        if notice.as_of < oldest or (notice.as_of == oldest and message.sequence < self.key.place):
            raise StaleReadError(f"notice of {notice.key} is as of {notice.as_of}, seen before was {oldest}")
        self.key.place = message.sequence
        self.key.algorithm, self.key.release = notice.algorithm, notice.release
        believed = believe(notice, self._ports.trust.current)
        if believed.doubts:
            believed = believe(notice, await self._ports.trust.refresh())
        for doubt in believed.doubts:
            self._doubt(doubt)
        return believed

    async def _fund(self, number: int) -> None:
        """Have a quota for a version before the one that protects is left; a budget that gives none holds nobody up."""
        before = self.key.counted()
        self.key.next = number
        coming = self.key.counted()
        if coming is not None and coming.quota.total == 0 and self.key.lease.is_valid:
            coming.quota.ahead = before.quota.ahead if before else coming.quota.ahead
            await self._ports.renew(self.key.name)

    def _switch(self, number: int) -> None:
        previous = self.key.switch(number)
        _log.info("protecting with %s@%d", self.key.name, number, extra={"event": "switched"})
        if previous not in (None, number):  # one that was suspended comes back
            self._ports.events.rotated(Rotated(self.key.name, number, previous))

    def _tell_resumed(self) -> None:
        """Of each version once, when it can be used: held again, and switched to if it is the current one."""
        for number in sorted(self._lifted.intersection(self.key.held)):
            self._lifted.discard(number)
            self._ports.events.resumed(Resumed(self.key.name, number))

    async def _confirm(self) -> None:
        """Prove that we protect with the current version, once nobody is inside another one."""
        current = self.key.view.current
        others = [v for v in (*self.key.held.values(), *self.key.leaving) if v is not current]
        for version in others:
            await drained(version)
        self.key.leaving = [version for version in self.key.leaving if version not in others]
        if current is not None and current.switched is None:
            await self._prove_switch(current)
        if self.key.view.current is current:  # it may have been stopped while we waited
            self.key.protects = current.version if current else None

    async def _prove_switch(self, current: Version) -> None:
        instance = self._ports.identity.instance
        if isinstance(current, RemoteVersion):
            proof = await self._ports.requests.probe(self.key.name, current.version, "switched")
            check_probe(current.fact, current.public, proof, "switched", instance)
            current.switched = proof
        elif isinstance(current, RemoteSecretVersion):
            name, number = self.key.name, current.version
            delivery, value = await self._ports.requests.confirmation(name, number, "switched")
            if delivery != current.delivery:
                raise RecordError(
                    f"{name}@{number}: confirmed for delivery {delivery}, it was {current.delivery}"
                )
            current.switched = value
        else:
            current.confirm_switch(instance)

    def _doubt(self, text: str) -> None:
        _log.warning("not believed: %s", text, extra={"event": "not-believed"})


async def drained(version: Version) -> None:
    """Return when no call is inside; calls end by themselves, the longest with one try of a request."""
    while not version.in_flight.is_empty:  # noqa: ASYNC110 - other threads enter and leave too: no event of this loop
        await asyncio.sleep(DRAIN_POLL_S)


async def _pause(poked: asyncio.Event, seconds: float) -> None:
    """Until the time is over or somebody pokes; then again."""
    try:
        async with asyncio.timeout(seconds):
            await poked.wait()
    except TimeoutError:
        poked.set()
