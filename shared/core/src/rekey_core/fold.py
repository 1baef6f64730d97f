"""State is a pure fold of verified facts (DESIGN §3).

``apply`` takes the next message of a key and gives the next state. A message whose author, check, authority or transition
is wrong is *void*: it has no effect, it is kept by name, and the fact after it must have seen it. A validly signed fact of a
type that this program does not know makes the key undecidable for everything but stops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from rekey_core.backups import backed_up, check_activatable
from rekey_core.contracts import (
    Activated,
    BackedUp,
    CancelDestruction,
    Compromised,
    Deactivated,
    Destroy,
    Destroyed,
    DestructionCancelled,
    DestructionScheduled,
    Fact,
    Generated,
    Granted,
    Register,
    Registered,
    Restored,
    Resumed,
    RotationRequested,
    SignedCommand,
    Suspended,
    Waived,
)
from rekey_core.destruction import cancelled, destroyed, scheduled
from rekey_core.embedded import (
    check_public_key,
    check_registered,
    check_requested,
    commanded,
    commanded_stop,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import Stored, Void
from rekey_core.errors import (
    AuthorityError,
    CheckSequenceError,
    IllegalTransitionError,
    MalformedError,
    PolicyError,
    RefusedError,
    SchemaError,
)
from rekey_core.lifecycle import RESUMABLE, Trigger, VersionState, transition
from rekey_core.names import Algorithm, Release
from rekey_core.persistent import PersistentMap, replace
from rekey_core.policy import is_known_policy
from rekey_core.restoring import restored
from rekey_core.suspension import resume, stop
from rekey_core.tracecontext import TraceContext
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts, Versions
from rekey_core.waivers import check_passed_over, waived

F = TypeVar("F", bound=Fact)
V = TypeVar("V", Destroy, CancelDestruction)

_TO_HOLD: Final = RESUMABLE  # pre-activation, active, deactivated: everything that may still be used


@dataclass(frozen=True)
class KeyState:
    """A key as its facts up to ``last_sequence`` make it."""

    env: str
    key: str
    registered: Stored[Registered] | None = None
    grants: frozenset[str] = frozenset()
    versions: Versions = field(default_factory=Versions)
    current: int | None = None
    last_sequence: int = 0
    events_of: PersistentMap[str, tuple[Stored[Fact], ...]] = field(default_factory=PersistentMap)  # by cause
    voids: tuple[Void, ...] = ()
    undecidable: str | None = None
    trace: TraceContext | None = None  # of the newest fact with effect; what follows from it goes on with it

    @property
    def causes(self) -> AbstractSet[str]:
        """Commands and facts that a fact names as its cause: they are done."""
        return self.events_of.keys()

    @property
    def is_registered(self) -> bool:
        """Whether the key exists."""
        return self.registered is not None

    @property
    def owner(self) -> str | None:
        """Who owns the key."""
        return self.registered.model.owner if self.registered else None

    @property
    def key_class(self) -> str | None:
        """The name of its class."""
        return self.registered.model.key_class if self.registered else None

    @property
    def algorithm(self) -> Algorithm | None:
        """What its versions are."""
        return self.registered.model.algorithm if self.registered else None

    @property
    def release(self) -> Release | None:
        """How its versions leave the HSM."""
        return self.registered.model.release if self.registered else None

    @property
    def cryptoperiod_s(self) -> int | None:
        """How long a version may be current, in seconds."""
        return self.registered.model.cryptoperiod_s if self.registered else None

    def has_stopped(self, cause: str) -> bool:
        """Whether a stop names this command: what others say on its account makes no responder's word done."""
        return any(isinstance(item.model, Suspended | Compromised) for item in self.events_of.get(cause, ()))

    def versions_to_hold(self) -> tuple[int, ...]:
        """Generated versions in a state in which they may be used, ascending."""
        return tuple(n for n, v in sorted(self.versions.items()) if v.generated and v.state in _TO_HOLD)

    def in_motion(self) -> int | None:
        """The newest version in pre-activation."""
        return max(self.versions.in_state(VersionState.PRE_ACTIVATION), default=None)

    def destructions(self) -> tuple[int, ...]:
        """Versions whose destruction is scheduled and not carried out, ascending."""
        return tuple(n for n, v in sorted(self.versions.items()) if v.pending is not None)

    def states(self) -> Mapping[int, VersionState]:
        """The state of every version."""
        return {number: version.state for number, version in self.versions.items()}

    def unsettled(self) -> Mapping[int, VersionState]:
        """The state of every version in pre-activation or active."""
        return {number: self.versions[number].state for number in self.versions.unsettled}

    def next_version(self) -> int:
        """The number that the next version gets: they are requested one after the other, from 1."""
        return len(self.versions) + 1

    def public_keys(self, denied: Collection[int] = ()) -> tuple[bytes, ...]:
        """The SPKI of every asymmetric version to hold, the one in pre-activation included, newest first.

        ``denied``: versions that the emergency lane stops before any fact does.
        """
        held = [self.versions[n].generated for n in reversed(self.versions_to_hold()) if n not in denied]
        return tuple(b64u_decode(g.model.spki) for g in held if g is not None and g.model.spki is not None)

    def rotates_by(self) -> datetime | None:
        """When the current version's cryptoperiod ends; nothing without a current version."""
        if self.current is None or self.cryptoperiod_s is None:
            return None
        activated = self.versions[self.current].activated
        return activated.stored_at + timedelta(seconds=self.cryptoperiod_s) if activated else None

    def apply(self, item: Stored[Fact] | Void, trust: Trust) -> KeyState:
        """The state after the next message of the key. Never raises for what the message says."""
        if isinstance(item, Void):
            return self._void(item)
        try:
            after = _checked(self, item, trust)
        except MalformedError as error:
            return self._void(Void(item.sequence, item.subject, error))
        except RefusedError as error:
            return self._void(Void(item.sequence, item.subject, SchemaError(f"{error.code}: {error}")))
        cause = item.model.cause
        done = self.events_of.put(cause, (*self.events_of.get(cause, ()), item))
        return replace(after, last_sequence=item.sequence, events_of=done, trace=item.trace)

    def _void(self, void: Void) -> KeyState:
        unknown = str(void.error) if void.validly_signed else None
        return replace(
            self,
            last_sequence=max(void.sequence, self.last_sequence),
            voids=(*self.voids, void),
            undecidable=self.undecidable or unknown,
        )


def fold(env: str, key: str, items: Iterable[Stored[Fact] | Void], trust: Trust) -> KeyState:
    """The state of a key from its messages in stream order."""
    state = KeyState(env=env, key=key)
    for item in items:
        state = state.apply(item, trust)
    return state


def rotation_due(state: KeyState, now: datetime) -> bool:
    """Whether the cryptoperiod of the current version is over."""
    return (due := state.rotates_by()) is not None and due <= now


def _checked(state: KeyState, item: Stored[Fact], trust: Trust) -> KeyState:
    """Everything that any fact must satisfy, then the rule of its kind."""
    fact = item.model
    if (fact.env, fact.key) != (state.env, state.key):
        raise SchemaError(f"fact of {fact.env}/{fact.key} in the log of {state.env}/{state.key}")
    if fact.checked != state.last_sequence or item.sequence <= state.last_sequence:
        found = f"{fact.checked} at {item.sequence}"
        raise CheckSequenceError(f"{item.subject}: expected checked {state.last_sequence}, found {found}")
    if isinstance(fact, Suspended | Compromised):  # no policy and nothing unknown may keep a stop away
        return _stopped(state, item, trust)
    if not is_known_policy(fact.policy):
        raise PolicyError(f"{item.subject}: policy {fact.policy[:16]} is not known")
    if state.undecidable:
        raise SchemaError(f"{item.subject}: decided although the key is undecidable: {state.undecidable}")
    return _ruled(state, item, trust)


def _ruled(state: KeyState, item: Stored[Fact], trust: Trust) -> KeyState:  # noqa: C901, PLR0912 - a case for each
    match item.model:
        case Registered():
            after = _registered(state, _as(item, Registered), trust)
        case Granted():
            after = _granted(state, _as(item, Granted), trust)
        case RotationRequested():
            after = _requested(state, _as(item, RotationRequested), trust)
        case Generated() | BackedUp() as fact:
            version = _version(state, fact.version)
            after = (
                _generated(state, _as(item, Generated))
                if isinstance(fact, Generated)
                else _with(state, backed_up(version, _as(item, BackedUp), state.key_class))
            )
        case Restored() as fact:
            after = _with(state, restored(_version(state, fact.version), _as(item, Restored), trust))
        case Resumed() as fact:
            _must_be_new(state, item)
            versions = resume(state.versions, _as(item, Resumed), trust, state.last_sequence)
            lives = versions[fact.version].state is VersionState.ACTIVE  # only if none is newer
            after = replace(state, versions=versions, current=fact.version if lives else state.current)
        case Waived():
            _must_be_new(state, item)
            version = waived(_version(state, item.model.version), _as(item, Waived), trust, state.registered)
            after = _with(state, version)
        case Activated():
            after = _activated(state, _as(item, Activated))
        case Deactivated():
            after = _deactivated(state, _as(item, Deactivated))
        case DestructionScheduled() as fact:
            command = _ordered(state, item, fact.command, Destroy, trust)
            asked = _as(item, DestructionScheduled)
            after = _with(
                state, scheduled(_version(state, fact.version), asked, command, state.key_class or "", trust)
            )
        case DestructionCancelled() as fact:
            lifted = _ordered(state, item, fact.command, CancelDestruction, trust)
            version = _version(state, fact.version)
            after = _with(state, cancelled(version, item.stored_at, lifted, state.last_sequence))
        case Destroyed() as fact:
            after = _with(state, destroyed(_version(state, fact.version), _as(item, Destroyed)))
        case _:
            raise SchemaError(f"{item.subject}: no rule for {item.model.EVENT}")
    return after


def _as(item: Stored[Fact], kind: type[F]) -> Stored[F]:
    if not isinstance(item.model, kind):
        raise TypeError(f"expected {kind.__name__}")
    return Stored(item.model, item.sequence, item.stored_at, item.subject, item.signed, item.trace)


def _registered(state: KeyState, item: Stored[Registered], trust: Trust) -> KeyState:
    fact = item.model
    if state.registered is not None:
        raise IllegalTransitionError(f"key {state.key} is registered twice")
    command = commanded(item, fact.command, Register, trust)
    check_registered(fact, command)
    return replace(state, registered=item)


def _granted(state: KeyState, item: Stored[Granted], trust: Trust) -> KeyState:
    fact = item.model
    _must_be_registered(state)
    command = commanded(item, fact.command, Register, trust)
    if command.author != state.owner or fact.dependent not in command.dependents or fact.version != 0:
        raise AuthorityError(f"granted of {state.key} to {fact.dependent} is not what its command says")
    return replace(state, grants=state.grants | {fact.dependent})


def _requested(state: KeyState, item: Stored[RotationRequested], trust: Trust) -> KeyState:
    fact, registered = item.model, _must_be_registered(state)
    if fact.version != state.next_version():
        raise IllegalTransitionError(
            f"{state.key}: expected a request for version {state.next_version()}, found {fact.version}"
        )
    if state.in_motion() is not None:
        raise IllegalTransitionError(f"{state.key}@{state.in_motion()} is still in pre-activation")
    if fact.reason == "initial" and state.versions:
        raise IllegalTransitionError(f"{state.key}@{fact.version}: initial, but there are versions")
    check_requested(item, registered.model, trust)
    if fact.reason == "person":
        _must_be_new(state, item)
    made = VersionFacts(fact.version, VersionState.PRE_ACTIVATION, item, item.stored_at)
    return _with(state, made)


def _generated(state: KeyState, item: Stored[Generated]) -> KeyState:
    fact = item.model
    version = _version(state, fact.version)
    if version.generated is not None or version.state is not VersionState.PRE_ACTIVATION:
        raise IllegalTransitionError(
            f"{state.key}@{fact.version} is {version.state} and cannot be generated (again)"
        )
    if fact.cause != str(version.requested.model.id):
        raise IllegalTransitionError(f"{state.key}@{fact.version}: generated for another request")
    if (fact.algorithm, fact.release) != (state.algorithm, state.release):
        raise SchemaError(
            f"{state.key}@{fact.version}: expected {state.algorithm}, {state.release}, found another"
        )
    check_public_key(fact)
    if fact.key_id in state.versions.key_ids:
        raise SchemaError(f"{state.key}@{fact.version}: key id {fact.key_id} is used before")
    return _with(state, replace(version, generated=item, state_since=item.stored_at))


def _activated(state: KeyState, item: Stored[Activated]) -> KeyState:
    version = _version(state, item.model.version)
    check_activatable(version, state.key, state.key_class)
    _caused_by(item, version.generated)
    check_passed_over(item.model.proved, version.waived, where=item.subject)
    after = transition(version.state, Trigger.ACTIVATE)
    changed = replace(version, state=after, activated=item, state_since=item.stored_at)
    return replace(_with(state, changed), current=version.number)


def _deactivated(state: KeyState, item: Stored[Deactivated]) -> KeyState:
    version = _version(state, item.model.version)
    if version.number == state.current:
        raise IllegalTransitionError(f"{state.key}@{version.number} is current and cannot be deactivated")
    current = state.versions[state.current] if state.current else None
    _caused_by(item, current.activated if current else None)
    check_passed_over(item.model.proved, current.waived if current else (), where=item.subject)
    after = transition(version.state, Trigger.DEACTIVATE)
    return _with(state, replace(version, state=after, deactivated=item, state_since=item.stored_at))


def _ordered(state: KeyState, item: Stored[Fact], signed: SignedCommand, kind: type[V], trust: Trust) -> V:
    """What the owner said of the version that the fact is about, with a command that was not used before."""
    _must_be_registered(state)
    command = commanded(item, signed, kind, trust)
    if command.author != state.owner:
        raise AuthorityError(f"{state.key} belongs to {state.owner}, not to {command.author}")
    if command.version != item.model.version:
        where = f"{item.model.EVENT} of {state.key}@{item.model.version}"
        raise AuthorityError(f"{where}: the command says version {command.version}")
    _must_be_new(state, item)
    return command


def _caused_by(item: Stored[Fact], cause: Stored[Fact] | None) -> None:
    """A step of a rotation names the fact that the step before it left: nobody can take one out of its order."""
    expected = str(cause.model.id) if cause else None
    if item.model.cause != expected:
        raise IllegalTransitionError(f"{item.subject}: expected cause {expected}, found {item.model.cause}")


def _stopped(state: KeyState, item: Stored[Fact], trust: Trust) -> KeyState:
    _must_be_registered(state)
    fact = commanded_stop(item, trust)
    if state.has_stopped(fact.cause):
        raise AuthorityError(f"{item.subject}: command {fact.cause[:16]} is done already")
    versions, numbers = stop(state.versions, fact, item.stored_at)
    return replace(state, versions=versions, current=None if state.current in numbers else state.current)


def _must_be_new(state: KeyState, item: Stored[Fact]) -> None:
    """One command, one effect: otherwise whoever may append could use an owner's or responder's command for ever."""
    if item.model.cause in state.events_of:
        raise AuthorityError(f"{item.subject}: command {item.model.cause[:16]} is done already")


def _must_be_registered(state: KeyState) -> Stored[Registered]:
    if state.registered is None:
        raise IllegalTransitionError(f"key {state.key} is not registered")
    return state.registered


def _version(state: KeyState, number: int) -> VersionFacts:
    found = state.versions.get(number)
    if found is None:
        raise IllegalTransitionError(f"{state.key}@{number} was never requested")
    return found


def _with(state: KeyState, version: VersionFacts) -> KeyState:
    return replace(state, versions=state.versions.put(version))
