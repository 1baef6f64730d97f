"""Commands become facts; facts, receipts and time wake a key, and a woken key takes every step that it may take.

The atomic point of each step is its append with the check of the key. A crash before it leaves nothing; after it the next
wake goes on from the fact. Waking is idempotent and lost wakes are found by the tick.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rekey_core.adoption import awaited
from rekey_core.authority import Stream
from rekey_core.contracts import (
    CancelDestruction,
    Destroy,
    Fact,
    Force,
    Register,
    Registered,
    Rotate,
    RotationRequested,
    SignedCommand,
    Waiting,
    Waive,
)
from rekey_core.encoding import sha256_hex
from rekey_core.envelope import BusMessage
from rekey_core.errors import FatalError, NotInScopeError, RekeyError, UnknownTypeError
from rekey_core.fold import KeyState, rotation_due
from rekey_core.quotas import ROTATE_AT
from rekey_core.readers import key_in, keys_in, open_command, open_quota, open_receipt
from rekey_core.room import check_rotation
from rekey_rotation_scheduler import destroying, outcomes, planner
from rekey_rotation_scheduler.proofs import adopted, allotted
from rekey_rotation_scheduler.rows import Quiet
from rekey_rotation_scheduler.tracing import Waker, step_span
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.projector import Projector
from rekey_runtime.reports import publish_alarm

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scheduler:
    """Handlers, and the one worker that steps woken keys."""

    bus: Bus
    keylog: KeyLog
    projector: Projector | None = None
    _keys: dict[str, KeyState | None] = field(
        default_factory=dict
    )  # every key, and how it was after its last step
    _low: set[str] = field(default_factory=set)  # keys whose budget was found low; until they rotate
    _woken: dict[str, Waker | None] = field(default_factory=dict)  # in the order of their turn
    _quiet: Quiet = field(default_factory=Quiet)
    _told: set[str] = field(default_factory=set)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_command(self, message: BusMessage) -> None:
        """What an owner says of a key. Raises what makes the refusal."""
        trust = self.bus.trust
        signed, command = await trust.fresh(lambda t: open_command(message, t))
        match command:
            case Register():
                await trust.refresh()  # a dependent may have been enrolled a moment ago
                while await self.keylog.decide(
                    command.key,
                    lambda state: self._with_room(
                        planner.registration(state, command, signed, trust.current, datetime.now(UTC)),
                        Registered,
                    ),
                ):
                    pass
            case Rotate():
                await self.keylog.decide(
                    command.key,
                    lambda state: self._with_room(
                        planner.rotation(
                            _owned(state, command), signed, datetime.now(UTC), command.deadline_s
                        ),
                        RotationRequested,
                    ),
                )
            case Destroy():
                await self.keylog.decide(
                    command.key,
                    lambda state: destroying.schedule(
                        _owned(state, command), command, signed, trust.current, datetime.now(UTC)
                    ),
                )
            case CancelDestruction():
                await self.keylog.decide(
                    command.key,
                    lambda state: destroying.cancel(
                        _owned(state, command), command, signed, datetime.now(UTC)
                    ),
                )
            case Waive() | Force():
                await self._pass_over(command, signed)
            case _:
                text = f"{message.subject}: expected a command of an owner, found {command.VERB}"
                raise UnknownTypeError(text)
        self.wake(command.key)

    async def _pass_over(self, command: Waive | Force, signed: SignedCommand) -> None:
        """Wait no longer for somebody who is missing."""
        before = await self.keylog.confirmed(command.key)
        target = awaited(before)
        proof = await adopted(self.bus, before, target) if target is not None else None
        await self.keylog.decide(
            command.key,
            lambda state: outcomes.waived(_owned(state, command), command, signed, proof, datetime.now(UTC)),
        )

    async def on_fact(self, message: BusMessage) -> None:
        """Any fact of a key may allow its next step."""
        if self.projector is not None:
            self.projector.wake()
        self.wake(key_in(message.subject), message)

    async def on_receipt(self, message: BusMessage) -> None:
        """A receipt may be the last one that a step waits for. Raises for one that does not verify."""
        receipt = (await self.bus.trust.fresh(lambda trust: open_receipt(message, trust))).model
        for key in receipt.keys:
            if key in self._keys:  # nobody makes us read keys that do not exist
                self.wake(key, message)

    async def on_quota(self, message: BusMessage) -> None:
        """A budget that is nearly given away makes it time for another version. Raises for a ledger that does not verify."""
        key = key_in(message.subject)
        is_low = True
        try:
            ledger = (await self.bus.trust.fresh(lambda trust: open_quota(message, trust))).model
            is_low = ledger.allotted >= ROTATE_AT
        finally:
            if is_low and key in self._keys:
                self._low.add(key)
                self.wake(key)

    async def recall(self) -> None:
        """At start: every registered key is looked at once; those that are quiet by their rows a few at a time, later."""
        env = self.bus.settings.env
        registered = f"evt.{env}.*.0.rotation-scheduler.registered.*"
        recalled = await self.projector.recall() if self.projector is not None else None
        quiet = Quiet.by(recalled[1] if recalled is not None else (), datetime.now(UTC))
        for key in keys_in(await self.bus.read_many(Stream.LIFECYCLE, [registered])):
            if key in quiet:
                self._keys[key] = None
                self._quiet.until[key] = quiet.until[key]
            else:
                self.wake(key)

    async def tick(self) -> None:
        """Wake what time alone may move: a rotation under way (leases run out), a cryptoperiod that ended."""
        now = datetime.now(UTC)
        for key, state in self._keys.items():
            if key in self._quiet:
                continue
            if state is None or key in self._low or planner.unfinished(state) or rotation_due(state, now):
                self.wake(key)
        for key in self._quiet.next(now):
            self.wake(key)

    def wake(self, key: str, message: BusMessage | None = None) -> None:
        """Have the worker look at a key; the message, if one is the reason."""
        self._keys.setdefault(key, None)
        self._quiet.leave(key)
        self._woken[key] = Waker.of(message) or self._woken.get(key)
        self._bell.set()

    async def work(self) -> None:
        """Step woken keys, one after the other, for ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._woken:
                key = next(iter(self._woken))
                with self.bus.at_work.on(f"steps of {key}"):
                    await self._advance(key, self._woken.pop(key))

    async def _advance(self, key: str, woken_by: Waker | None) -> None:
        try:
            while await self._step(key, woken_by):
                pass
        except FatalError:
            raise
        except (
            RekeyError
        ) as error:  # whatever is wrong with one key: the others go on, and the tick comes back to it
            _log.info(
                "step put off",
                extra={"event": "step-put-off", "key": key, "code": error.code, "text": str(error)},
            )

    async def _step(self, key: str, woken_by: Waker | None) -> bool:
        state = await self.keylog.state(key)
        self._keys[key] = state
        target = awaited(state)
        proof = await adopted(self.bus, state, target) if target is not None else None
        fact = self._with_room(
            planner.step(state, proof, datetime.now(UTC), await self._allotted(state)), RotationRequested
        )
        if fact is None:
            if proof is not None and (late := outcomes.overdue(state, proof, datetime.now(UTC))):
                await self._tell(state, late)
            return False
        with step_span(self.bus.tracing, state, fact, woken_by):
            await self.keylog.append(state, fact)
            _log.info("step", extra={"event": fact.EVENT, "key": key, "version": fact.version})
        return True

    def _with_room(self, fact: Fact | None, begins: type[Fact]) -> Fact | None:
        """The fact, unless something begins with it and the stream is too full for that. Raises NoRoomError."""
        if isinstance(fact, begins):
            check_rotation(self.bus.room.share(Stream.LIFECYCLE))
        return fact

    async def _allotted(self, state: KeyState) -> int:
        version = planner.counted_version(state)
        found = await allotted(self.bus, state.key, version) if version is not None else 0
        if found < ROTATE_AT and not planner.unfinished(state):
            self._low.discard(state.key)
        return found

    async def _tell(self, state: KeyState, late: Waiting) -> None:
        """Say once for each step who is missing; after a new start again, in the same place."""
        place = f"{state.key}@{late.version} {late.step}"
        if place in self._told:
            return
        text = f"{place}: deadline {late.deadline:%Y-%m-%d %H:%M:%SZ} passed, waiting since "
        text += f"{late.since:%Y-%m-%d %H:%M:%SZ} for {', '.join(late.missing)}"
        request = state.versions[late.version].requested
        await publish_alarm(
            self.bus,
            subject=request.subject,
            stream=Stream.LIFECYCLE,
            sequence=request.sequence,
            code="deadline-passed",
            text=text,
            number=sha256_hex(place.encode())[:16],
        )
        self._told.add(place)
        _log.warning(
            "%s", text, extra={"event": "deadline-passed", "key": state.key, "version": late.version}
        )


def _owned(state: KeyState, command: Rotate | Waive | Force | Destroy | CancelDestruction) -> KeyState:
    if state.registered is not None and state.owner != command.author:
        text = f"key {state.key} belongs to {state.owner}, not to {command.author}"
        raise NotInScopeError(text, hint=f"ask {state.owner}")
    return state
