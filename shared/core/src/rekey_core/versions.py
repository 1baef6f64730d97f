"""The versions of a key, and each as its facts make it: parts of the folded key. Pure values."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rekey_core.commands import command_id
from rekey_core.contracts import (
    Activated,
    BackedUp,
    Deactivated,
    Destroyed,
    DestructionScheduled,
    Generated,
    Restored,
    Resumed,
    RotationRequested,
    SignedCommand,
    Whom,
)
from rekey_core.envelope import Stored
from rekey_core.lifecycle import Trigger, VersionState, transition
from rekey_core.persistent import PersistentMap, replace

_UNSETTLED: Final = frozenset({VersionState.PRE_ACTIVATION, VersionState.ACTIVE})


@dataclass(frozen=True)
class Destruction:
    """A destruction that is scheduled, and the moment (by the clock of the bus) from which it may be carried out."""

    scheduled: Stored[DestructionScheduled]
    not_before: datetime

    def is_due(self, at: datetime) -> bool:
        """Whether the delay is over."""
        return at >= self.not_before


@dataclass(frozen=True)
class Wrapped:
    """A generated version and where it lies: under the KEK of which epoch, as which blob. A restore moves it."""

    made: Generated
    epoch: int
    blob_digest: str  # SHA-256


@dataclass(frozen=True)
class VersionFacts:
    """One version: its state, and the facts that made it so."""

    number: int
    state: VersionState
    requested: Stored[RotationRequested]
    state_since: datetime
    generated: Stored[Generated] | None = None
    backed_up: Stored[BackedUp] | None = None
    restored: Stored[Restored] | None = None  # the newest
    activated: Stored[Activated] | None = None
    deactivated: Stored[Deactivated] | None = None
    stopped_by: tuple[SignedCommand, ...] = ()  # what stops it now: lifted suspensions are not in it
    lifted: frozenset[str] = frozenset()  # ids of the suspensions that were lifted
    resumed: Stored[Resumed] | None = None  # the newest
    waived: frozenset[Whom] = frozenset()  # whom the rotation to it does not wait for
    resume_to: VersionState | None = None
    destruction: Destruction | None = None  # scheduled and not cancelled; stays when it is carried out
    destroyed: Stored[Destroyed] | None = None

    @property
    def wrapped(self) -> Wrapped | None:
        """Where it lies; of a destroyed version, where it lay."""
        if self.generated is None:
            return None
        made, newest = self.generated.model, self.restored or self.generated
        return Wrapped(made, newest.model.epoch, newest.model.blob_digest)

    @property
    def stops_to_tell(self) -> tuple[SignedCommand, ...]:
        """As many of ``stopped_by`` as it takes to stop somebody: nobody can fill a notice with suspensions."""
        return self.stopped_by if len(self.stopped_by) < 3 else (self.stopped_by[0], self.stopped_by[-1])  # noqa: PLR2004

    @property
    def lifts(self) -> tuple[str, ...]:
        """The suspensions that a resume must name: all that there ever were, for who missed an earlier resume."""
        return tuple(sorted({*self.lifted, *map(command_id, self.stopped_by)}))

    @property
    def processes_since(self) -> int | None:
        """Where in the log it is said that nobody protects with it any more: deactivated, or resumed as such."""
        if self.deactivated is None and self.state is VersionState.DEACTIVATED and self.resumed is not None:
            return self.resumed.sequence
        return self.deactivated.sequence if self.deactivated else None

    @property
    def pending(self) -> Destruction | None:
        """The destruction that is still to be carried out."""
        return self.destruction if self.destroyed is None else None

    def is_cancellable(self, at: datetime) -> bool:
        """Whether nobody may have begun to destroy it: the delay runs, or a suspension that began in it outlasts it."""
        pending = self.pending
        if pending is None:
            return False
        held_up = self.state is VersionState.SUSPENDED and self.state_since < pending.not_before
        return held_up or not pending.is_due(at)


def stopped(version: VersionFacts, trigger: Trigger, command: SignedCommand, at: datetime) -> VersionFacts:
    """The version suspended or compromised. Raises IllegalTransitionError where the table does not allow it.

    Suspended again it is suspended since it was, and comes back to where it was.
    """
    again = version.state is VersionState.SUSPENDED and trigger is Trigger.SUSPEND
    before = version.resume_to if again else version.state
    return replace(
        version,
        state=transition(version.state, trigger),
        resume_to=before if trigger is Trigger.SUSPEND else None,
        state_since=version.state_since if again else at,
        stopped_by=(*version.stopped_by, command),
    )


@dataclass(frozen=True, eq=False)
class Versions(Mapping[int, VersionFacts]):
    """The versions of a key by number. What a decision looks up here costs the same where there are thousands.

    ``unsettled``: the numbers of those in pre-activation or active, of which there are few. ``key_ids``: every Tink key
    id that was generated, and for which version.
    """

    unsettled: frozenset[int] = frozenset()
    key_ids: PersistentMap[int, int] = field(default_factory=PersistentMap)
    _by_number: PersistentMap[int, VersionFacts] = field(default_factory=PersistentMap)

    def put(self, version: VersionFacts) -> Versions:
        """The same versions, this one as it is now."""
        number, made = version.number, version.generated
        others = self.unsettled - {number}
        return Versions(
            others | {number} if version.state in _UNSETTLED else others,
            self.key_ids.put(made.model.key_id, number) if made else self.key_ids,
            self._by_number.put(number, version),
        )

    def in_state(self, state: VersionState) -> tuple[int, ...]:
        """The numbers of the versions in pre-activation, or of the active ones, ascending."""
        if state not in _UNSETTLED:
            message = f"expected a state that few versions are in, found {state}"
            raise ValueError(message)
        return tuple(n for n in sorted(self.unsettled) if self._by_number[n].state is state)

    def __getitem__(self, number: int) -> VersionFacts:
        """The version; KeyError where there is none."""
        return self._by_number[number]

    def __contains__(self, number: object) -> bool:
        """Whether the version was ever requested."""
        return number in self._by_number

    def __iter__(self) -> Iterator[int]:
        """The numbers, as they were requested."""
        return iter(self._by_number)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_number)

    def items(self) -> ItemsView[int, VersionFacts]:
        """All of them with their numbers."""
        return self._by_number.items()

    def values(self) -> ValuesView[VersionFacts]:
        """All of them."""
        return self._by_number.values()
