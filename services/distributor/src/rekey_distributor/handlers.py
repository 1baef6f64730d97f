"""Facts become notices, responders' commands become denials and notices; a sweep repairs what differs.

A fact is acknowledged after its notices are stored (the atomic point is each notice's own write with the expected
sequence of its subject): a crash before leaves the fact unacknowledged, and the next try writes what is missing.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rekey_core.authority import Stream
from rekey_core.contracts import Notice, Revoke, Suspend
from rekey_core.envelope import BusMessage
from rekey_core.errors import (
    FatalError,
    MalformedError,
    RefusedError,
    RekeyError,
    StaleReadError,
    UnknownTypeError,
)
from rekey_core.fold import KeyState
from rekey_core.readers import key_in, keys_in, open_command, open_notice
from rekey_core.tracecontext import Attribute, TraceContext
from rekey_distributor import noticing
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.records import Records
from rekey_hsm import DistributorHsm
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.telemetry import present_trace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Distributor:
    """Handlers of the two consumers, and the sweep."""

    bus: Bus
    keylog: KeyLog
    hsm: DistributorHsm
    records: Records
    emergencies: Emergencies
    _keys: set[str] = field(default_factory=set)
    _overheard: dict[str, int] = field(default_factory=dict)  # verb → sequence of the newest command heeded
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def on_fact(self, message: BusMessage) -> None:
        """A fact of any kind: write what should be for every dependent of its key."""
        key = key_in(message.subject)
        state = await self.keylog.state(key)
        if state.last_sequence < message.sequence:
            text = f"{key}: folded up to {state.last_sequence}, the fact stands at {message.sequence}"
            raise StaleReadError(text)
        await self.notice(state)

    async def on_emergency(self, message: BusMessage) -> None:
        """A responder's command: verified here, effective here, whatever the revocation service does."""
        command = await self._heed(message)
        _log.warning(
            "emergency", extra={"event": "emergency", "key": command.key, "version": command.version}
        )
        await self.notice(await self.keylog.state(command.key))

    async def recall(self) -> None:
        """At start: know every command that was ever accepted, and every key."""
        await self.overhear()
        registered = await self.bus.read_many(
            Stream.LIFECYCLE, [f"evt.{self.bus.settings.env}.*.0.rotation-scheduler.registered.*"]
        )
        self._keys.update(keys_in(registered))

    async def overhear(self) -> None:
        """Heed the commands that came since: the durable gives each to one replica, and every replica must refuse."""
        for verb in (Suspend.VERB, Revoke.VERB):
            commands = f"cmd.{verb}.{self.bus.settings.env}.>"
            newest = await self.bus.last(Stream.COMMANDS, commands)
            if newest is None or newest.sequence <= self._overheard.get(verb, 0):
                continue
            start = self._overheard.get(verb, 0) + 1
            async for message in self.bus.read_all(Stream.COMMANDS, commands, start=start):
                await self._overhear(message)
                self._overheard[verb] = message.sequence

    async def _overhear(self, message: BusMessage) -> None:
        try:
            command = await self._heed(message)
        except (MalformedError, RefusedError) as error:
            where = {"subject": message.subject, "code": error.code}
            _log.info("not heeded", extra={"event": "command-refused", **where})
        else:
            self._keys.add(command.key)  # the sweep repairs its notices, whoever else may do so

    async def sweep(self) -> None:
        """Hold every notice against the log and write what differs; what is wrong with one key stops no other."""
        for key in sorted(self._keys):
            try:
                await self.notice(await self.keylog.state(key))
            except FatalError:
                raise
            except RekeyError as error:
                _log.warning(
                    "sweep: %s", error, extra={"event": "sweep-failed", "key": key, "code": error.code}
                )

    async def notice(self, state: KeyState) -> None:
        """Write the notices of a key that say something else than they should; forget what nobody may use any more."""
        if state.registered is None:
            return
        self._keys.add(state.key)
        async with self._locks.setdefault(state.key, asyncio.Lock()):
            for dependent in sorted(state.grants):
                await self._notice(state, dependent)
        await self._forget(state)

    async def _notice(self, state: KeyState, dependent: str) -> None:
        subject = self.bus.subjects.notice(dependent, state.key)
        stored = await self.bus.last(Stream.NOTICES, subject)
        wanted = noticing.notice_for(state, dependent, self.emergencies, datetime.now(UTC))
        if stored is not None:
            present = self._readable(stored)
            if present and (present.as_of > wanted.as_of or noticing.same_content(present, wanted)):
                return
        attributes = {Attribute.KEY: state.key, Attribute.DEPENDENT: dependent}
        with self.bus.tracing.span("notice", attributes, parent=_led_by(state)):
            await self._write(subject, wanted, stored.sequence if stored else 0)

    def _readable(self, stored: BusMessage) -> Notice | None:
        """What is there, if it is a notice of ours; whatever else stands there is written over."""
        try:
            return open_notice(stored, self.bus.trust.current).model
        except MalformedError as error:
            _log.error("notice: %s", error, extra={"event": "notice-not-ours", "subject": stored.subject})
            return None

    async def _write(self, subject: str, wanted: Notice, previous: int) -> None:
        await self.bus.replace(Stream.NOTICES, subject, self.bus.pack(wanted), previous)

    async def _heed(self, message: BusMessage) -> Suspend | Revoke:
        signed, command = await self.bus.trust.fresh(lambda trust: open_command(message, trust))
        if not isinstance(command, Suspend | Revoke):
            text = f"{message.subject}: expected suspend or revoke, found {command.VERB}"
            raise UnknownTypeError(text)
        self.emergencies.add(command, signed, message.stored_at)
        return command

    async def _forget(self, state: KeyState) -> None:
        """Stopped and destroyed versions leave the HSM's session and our memory, in every replica."""
        gone = noticing.blobs_to_forget(state, self.emergencies)
        for digest in gone:
            self.records.forget(digest)
        if gone:
            await self.hsm.forget(gone)


def _led_by(state: KeyState) -> TraceContext | None:
    """A notice goes on with the newest fact that it tells; a responder's command, which no fact tells yet, has its own."""
    present = present_trace()
    same = present is None or (state.trace is not None and present.trace_id == state.trace.trace_id)
    return state.trace if same else present
