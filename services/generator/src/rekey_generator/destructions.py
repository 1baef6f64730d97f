"""Destructions whose delay is over: overwrite the wrapped blob, then say so; and see to it that it stays so.

The order is tombstone, then ``destroyed``. The other way round a crash would leave a fact that is not true, for as long as
the generator is away, and nobody would look for what still lies there. This way a crash leaves a version that cannot be
opened any more while the log does not say so yet: the next try finds its own tombstone and says it. The tombstone is not
under the check of the key, so nothing may come in between that would want the version back. Nothing can: a cancellation
that the log takes after the delay has no effect (``rekey_core.destruction``), and the tombstone is written only when the
clock of the bus, asked before the leader's last fact of the key, says that the delay is over, with a margin. A suspension
that comes in between finds the version stopped and its blob gone; ``destroyed`` follows when it is resumed or compromised.

A schedule is found by reading, not by a durable: it must wait for weeks, and every replica must know it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage
from rekey_core.errors import (
    AlreadyDoneError,
    FatalError,
    MalformedError,
    RecordError,
    RefusedError,
    RekeyError,
    StaleReadError,
)
from rekey_core.fold import KeyState
from rekey_core.readers import key_in, keys_in, open_backup, open_material
from rekey_core.tracecontext import Attribute, Attributes
from rekey_core.versions import Destruction
from rekey_generator import destroying
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.reports import publish_alert

_log = logging.getLogger(__name__)


@dataclass
class Destructions:
    """Carries out what is scheduled, and buries again what comes back."""

    bus: Bus
    keylog: KeyLog
    _pending: dict[tuple[str, int], datetime] = field(default_factory=dict)  # version → not before
    _overheard: int = 0  # sequence of the newest schedule that is known

    async def tick(self) -> None:
        """Carry out what is due; what is wrong with one version stops no other."""
        await self._overhear()
        if not self._pending:
            return
        now = await self.bus.time(Stream.LIFECYCLE)
        for (key, number), not_before in list(self._pending.items()):
            if not_before <= now:
                await self._try(key, number)

    async def guard(self) -> None:
        """Hold MATERIAL against the log: where a version is destroyed nothing but its tombstone may stand."""
        destroyed = f"evt.{self.bus.settings.env}.*.*.generator.destroyed.*"
        for key in sorted({*keys_in(await self.bus.read_many(Stream.LIFECYCLE, [destroyed]))}):
            state = await self.keylog.state(key)
            for number, version in sorted(state.versions.items()):
                if version.destroyed is not None and version.destruction is not None:
                    await self._rebury(state, number, version.destruction)

    async def _overhear(self) -> None:
        """Know the schedules that came since."""
        scheduled = f"evt.{self.bus.settings.env}.*.*.rotation-scheduler.destruction-scheduled.*"
        newest = await self.bus.last(Stream.LIFECYCLE, scheduled)
        if newest is None or newest.sequence <= self._overheard:
            return
        start = self._overheard + 1
        async for message in self.bus.read_all(Stream.LIFECYCLE, scheduled, start=start):
            await self._learn(message)
            self._overheard = message.sequence

    async def _learn(self, message: BusMessage) -> None:
        try:
            key = key_in(message.subject)
        except MalformedError:  # names no key, so it schedules nothing; audit alarms about it
            return
        state = await self.keylog.state(key)
        if state.last_sequence < message.sequence:
            text = f"{key}: folded up to {state.last_sequence}, the schedule stands at {message.sequence}"
            raise StaleReadError(text)
        for number in state.destructions():
            pending = state.versions[number].pending
            if pending is not None:
                self._pending[key, number] = pending.not_before

    async def _try(self, key: str, number: int) -> None:
        try:
            await self._carry_out(key, number)
        except FatalError:
            raise
        except (AlreadyDoneError, RefusedError) as error:  # cancelled, or another replica was faster
            del self._pending[key, number]
            _log.info("destruction: %s", error, extra={"event": "not-destroyed", "key": key})
        except (
            destroying.HeldUpError
        ) as error:  # said every second otherwise, for as long as a suspension lasts
            _log.debug("destruction: %s", error, extra={"event": "destruction-waits", "key": key})
        except RekeyError as error:
            _log.warning(
                "destruction: %s",
                error,
                extra={"event": "destruction-failed", "key": key, "code": error.code},
            )
        else:
            del self._pending[key, number]
            _log.warning("destroyed", extra={"event": "destroyed", "key": key, "version": number})

    async def _carry_out(self, key: str, number: int) -> None:
        now = await self.bus.time(Stream.LIFECYCLE)
        state = await self.keylog.confirmed(key)  # after the clock: what is not in it came after the delay
        pending = destroying.due(state, number, now)
        names: Attributes = {Attribute.KEY: key, Attribute.VERSION: number}
        with self.bus.tracing.span("destroy", names, parent=state.trace):
            place = await self._buried(state, number, pending)
            await self.keylog.decide(
                key,
                lambda state: destroying.destroyed(
                    state, number, destroying.due(state, number, now), place, datetime.now(UTC)
                ),
            )

    async def _buried(self, state: KeyState, number: int, pending: Destruction) -> int:
        """Where the tombstone of the version stands; that of its backup is there before it, even if it never had one."""
        await self._bury(state, number, pending, self.bus.subjects.backup(state.key, number))
        return await self._bury(state, number, pending, self.bus.subjects.material(state.key, number))

    async def _bury(self, state: KeyState, number: int, pending: Destruction, subject: str) -> int:
        """Where in MATERIAL the tombstone stands, which is written if it does not; whatever else stood there is gone."""
        found = await self.bus.last(Stream.MATERIAL, subject)
        if found is not None and self._is_tombstone(found, pending):
            return found.sequence
        packed = self.bus.pack(destroying.tombstone(state, number, pending, datetime.now(UTC)))
        return await self.bus.replace(Stream.MATERIAL, subject, packed, found.sequence if found else 0)

    def _is_tombstone(self, found: BusMessage, pending: Destruction) -> bool:
        opened = open_backup if found.subject.startswith("bak.") else open_material
        try:
            return destroying.is_tombstone_of(opened(found, self.bus.trust.current).model, pending)
        except MalformedError:  # nothing of ours: it has no business there
            return False

    async def _rebury(self, state: KeyState, number: int, done: Destruction) -> None:
        for subject in (
            self.bus.subjects.backup(state.key, number),
            self.bus.subjects.material(state.key, number),
        ):
            await self._rebury_in(subject, state, number, done)

    async def _rebury_in(self, subject: str, state: KeyState, number: int, done: Destruction) -> None:
        found = await self.bus.last(Stream.MATERIAL, subject)
        if found is not None and self._is_tombstone(found, done):
            return
        await self._bury(state, number, done, subject)
        text = f"{state.key}@{number} is destroyed, and something else than its tombstone stood in {subject}"
        _log.error("%s", text, extra={"event": "reburied", "key": state.key, "version": number})
        if found is not None:
            await publish_alert(self.bus, found, RecordError(text))
