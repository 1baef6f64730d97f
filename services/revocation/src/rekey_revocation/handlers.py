"""A responder's command becomes a fact, the fact becomes stops, and stops are repeated until everybody live has signed.

The atomic point is the append of ``suspended``, ``compromised`` or ``resumed``; the command is acknowledged after
the stops are stored. A crash in between leaves the command unacknowledged: the next try finds the fact and writes the stops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from rekey_core.authority import Stream
from rekey_core.contracts import Fact, Message, Resume, Revoke, SignedCommand, Suspend
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import (
    AlreadyDoneError,
    FatalError,
    MalformedError,
    RefusedError,
    RekeyError,
    UnknownTypeError,
)
from rekey_core.fold import KeyState
from rekey_core.readers import keys_in, open_command, open_lease, open_receipt
from rekey_core.suspension import stops
from rekey_core.tracecontext import Attribute
from rekey_core.trust import Trust
from rekey_revocation import stopping
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.leases import all_leases
from rekey_runtime.telemetry import present_trace

_log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Revocation:
    """The handler of commands and the repetition of stops."""

    bus: Bus
    keylog: KeyLog
    _unfinished: dict[str, datetime] = field(default_factory=dict)  # key → since when stops are repeated
    _recalled: set[str] = field(default_factory=set)  # whose reach nobody knows, or was told

    async def on_command(self, message: BusMessage) -> None:
        """``suspend`` or ``revoke`` by a responder, ``resume`` by two people. Raises what makes the refusal."""
        signed, command = await self.bus.trust.fresh(lambda trust: open_command(message, trust))
        if not isinstance(command, Suspend | Revoke | Resume):
            text = f"{message.subject}: expected suspend, revoke or resume, found {command.VERB}"
            raise UnknownTypeError(text)
        try:
            await self.keylog.decide(command.key, lambda state: _fact(state, command, signed))
            _log.warning(
                "decided", extra={"event": command.VERB, "key": command.key, "version": command.version}
            )
            is_new = True
        except AlreadyDoneError:
            _log.info("decided before", extra={"event": "already-done", "key": command.key})
            is_new = False
        if not isinstance(command, Resume):
            self._note(command.key, message.stored_at, is_new=is_new)
        await self._tell(
            await self.keylog.confirmed(command.key)
        )  # a stale read would leave this very stop out

    def _note(self, key: str, since: datetime, *, is_new: bool) -> None:
        """A stop is repeated, before it is told: telling may fail. One that comes once more has no reach to tell again."""
        if not is_new and key in self._unfinished:
            return
        self._unfinished[key] = since
        if is_new:
            self._recalled.discard(key)
        else:  # it came before a start, or was reached and its acknowledgement was lost
            self._recalled.add(key)

    async def recall(self) -> None:
        """At start: whatever was ever stopped is told again until it is known that everybody stopped."""
        env = self.bus.settings.env
        filters = [f"evt.{env}.*.*.revocation.{event}.*" for event in ("suspended", "compromised")]
        messages = await self.bus.read_many(Stream.LIFECYCLE, filters)
        for message in sorted(messages, key=lambda one: one.sequence):  # the newest stop of a key counts
            for key in keys_in([message]):
                self._unfinished[key] = message.stored_at
                self._recalled.add(key)

    async def repeat(self) -> None:
        """Write again the stops of every key that a live instance has not confirmed."""
        for key, since in list(self._unfinished.items()):
            try:
                await self._repeat(key, since)
            except FatalError:
                raise
            except RekeyError as error:  # what is wrong with one key stops no other
                _log.warning(
                    "repeat: %s", error, extra={"event": "repeat-failed", "key": key, "code": error.code}
                )

    async def _repeat(self, key: str, since: datetime) -> None:
        is_recalled = key in self._recalled  # a stop that comes meanwhile has a reach, of its own
        state = await self.keylog.confirmed(key)
        missing = await self._missing(state)
        if missing:
            self._recalled.discard(key)
            _log.warning(
                "not stopped yet",
                extra={
                    "event": "not-stopped",
                    "key": key,
                    "text": ", ".join(f"{d}/{i}" for d, i in missing),
                },
            )
            await self._tell(state)
            return
        # nobody knows how long it took where the stop was lifted first, or where it was over before this start
        if stops(state.versions) and not is_recalled:
            seconds = (datetime.now(UTC) - since).total_seconds()
            _log.warning(
                "everybody stopped", extra={"event": "reached", "key": key, "text": f"{seconds:.1f} s"}
            )
        if self._unfinished.get(key) == since:
            del self._unfinished[key]

    async def _tell(self, state: KeyState) -> None:
        for dependent in sorted(state.grants):
            subject = self.bus.subjects.stop(dependent, state.key)
            last = await self.bus.last(Stream.NOTICES, subject)
            stop = stopping.stop_for(state, dependent, datetime.now(UTC))
            packed = self.bus.pack(stop)
            attributes = {Attribute.KEY: state.key, Attribute.DEPENDENT: dependent}
            with self.bus.tracing.span("stop", attributes, parent=present_trace() or state.trace):
                await self.bus.replace(Stream.NOTICES, subject, packed, last.sequence if last else 0)

    async def _missing(self, state: KeyState) -> tuple[tuple[str, str], ...]:
        env, names = self.bus.settings.env, sorted(state.grants)
        if not names:
            return ()
        trust = await self.bus.trust.refresh()  # a dependent that is new to us has instances too
        leases = await all_leases(self.bus, env, names)  # one that is missed would end the repetition early
        receipts = await self.bus.read_many(Stream.RECEIPTS, [f"rcpt.{env}.{name}.*" for name in names])
        return stopping.not_stopped(
            state,
            _models(leases, open_lease, trust),
            _models(receipts, open_receipt, trust),
            datetime.now(UTC),
        )


def _fact(state: KeyState, command: Suspend | Revoke | Resume, signed: SignedCommand) -> Fact:
    now = datetime.now(UTC)
    if isinstance(command, Resume):
        return stopping.resume_fact(state, command, signed, now)
    return stopping.stop_fact(state, command, signed, now)


def _models(
    messages: Iterable[BusMessage], opener: Callable[[BusMessage, Trust], Stored[M]], trust: Trust
) -> list[M]:
    """Those that verify: what does not proves nothing."""
    believed = []
    for message in messages:
        try:
            believed.append(opener(message, trust).model)
        except (MalformedError, RefusedError) as error:
            _log.info(
                "not believed",
                extra={"event": "not-believed", "subject": message.subject, "code": error.code},
            )
    return believed
