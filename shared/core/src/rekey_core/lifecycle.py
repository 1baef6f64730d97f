"""The states of a version and every change between them, as one table (NIST SP 800-57 part 1 Rev 5 §7; DESIGN §1).

We store the finest set; SP 800-57 and KMIP are projections of it. ``TABLE`` has a row for every pair of state and
trigger; ``None`` is "not allowed". Resuming goes back to where the suspension came from, which the fold remembers.

Stricter than Rev 5 on purpose: a suspended version is neither deactivated nor destroyed before it is resumed or
compromised, and an active one is deactivated before it is destroyed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rekey_core.errors import IllegalTransitionError


class VersionState(enum.StrEnum):
    """Where a version is in its life."""

    PRE_ACTIVATION = "pre-activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"
    DESTROYED_COMPROMISED = "destroyed-compromised"


class Trigger(enum.StrEnum):
    """What may happen to a version."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    SUSPEND = "suspend"
    RESUME = "resume"
    COMPROMISE = "compromise"
    DESTROY = "destroy"


_S, _T = VersionState, Trigger

TABLE: Final[Mapping[tuple[VersionState, Trigger], VersionState | None]] = MappingProxyType(
    {
        (_S.PRE_ACTIVATION, _T.ACTIVATE): _S.ACTIVE,
        (_S.PRE_ACTIVATION, _T.DEACTIVATE): None,
        (_S.PRE_ACTIVATION, _T.SUSPEND): _S.SUSPENDED,
        (_S.PRE_ACTIVATION, _T.RESUME): None,
        (_S.PRE_ACTIVATION, _T.COMPROMISE): _S.COMPROMISED,
        (_S.PRE_ACTIVATION, _T.DESTROY): _S.DESTROYED,
        (_S.ACTIVE, _T.ACTIVATE): None,
        (_S.ACTIVE, _T.DEACTIVATE): _S.DEACTIVATED,
        (_S.ACTIVE, _T.SUSPEND): _S.SUSPENDED,
        (_S.ACTIVE, _T.RESUME): None,
        (_S.ACTIVE, _T.COMPROMISE): _S.COMPROMISED,
        (_S.ACTIVE, _T.DESTROY): None,
        (_S.SUSPENDED, _T.ACTIVATE): None,
        (_S.SUSPENDED, _T.DEACTIVATE): None,  # it would process again: only a resumption may lift a stop
        (_S.SUSPENDED, _T.SUSPEND): _S.SUSPENDED,  # each suspension counts: a resume must have seen them all
        (_S.SUSPENDED, _T.RESUME): _S.ACTIVE,  # or where the suspension came from: ``suspension.resume``
        (_S.SUSPENDED, _T.COMPROMISE): _S.COMPROMISED,
        (_S.SUSPENDED, _T.DESTROY): None,
        (_S.DEACTIVATED, _T.ACTIVATE): None,
        (_S.DEACTIVATED, _T.DEACTIVATE): None,
        (_S.DEACTIVATED, _T.SUSPEND): _S.SUSPENDED,
        (_S.DEACTIVATED, _T.RESUME): None,
        (_S.DEACTIVATED, _T.COMPROMISE): _S.COMPROMISED,
        (_S.DEACTIVATED, _T.DESTROY): _S.DESTROYED,
        (_S.COMPROMISED, _T.ACTIVATE): None,
        (_S.COMPROMISED, _T.DEACTIVATE): None,
        (_S.COMPROMISED, _T.SUSPEND): None,
        (_S.COMPROMISED, _T.RESUME): None,
        (_S.COMPROMISED, _T.COMPROMISE): None,
        (_S.COMPROMISED, _T.DESTROY): _S.DESTROYED_COMPROMISED,
        (_S.DESTROYED, _T.ACTIVATE): None,
        (_S.DESTROYED, _T.DEACTIVATE): None,
        (_S.DESTROYED, _T.SUSPEND): None,
        (_S.DESTROYED, _T.RESUME): None,
        (_S.DESTROYED, _T.COMPROMISE): _S.DESTROYED_COMPROMISED,
        (_S.DESTROYED, _T.DESTROY): None,
        (_S.DESTROYED_COMPROMISED, _T.ACTIVATE): None,
        (_S.DESTROYED_COMPROMISED, _T.DEACTIVATE): None,
        (_S.DESTROYED_COMPROMISED, _T.SUSPEND): None,
        (_S.DESTROYED_COMPROMISED, _T.RESUME): None,
        (_S.DESTROYED_COMPROMISED, _T.COMPROMISE): None,
        (_S.DESTROYED_COMPROMISED, _T.DESTROY): None,
    }
)

RESUMABLE: Final = frozenset({_S.PRE_ACTIVATION, _S.ACTIVE, _S.DEACTIVATED})

SP_800_57_R5: Final[Mapping[VersionState, str]] = MappingProxyType(
    {  # part 1 Rev 5 §7: pre-activation, active, suspended, deactivated, compromised, destroyed
        _S.PRE_ACTIVATION: "pre-activation",
        _S.ACTIVE: "active",
        _S.SUSPENDED: "suspended",
        _S.DEACTIVATED: "deactivated",
        _S.COMPROMISED: "compromised",
        _S.DESTROYED: "destroyed",
        _S.DESTROYED_COMPROMISED: "destroyed",
    }
)

SP_800_57_R6_IPD: Final[Mapping[VersionState, str]] = MappingProxyType(
    {  # initial public draft of Rev 6 (2025-12) §6, appendix F item 20: no deactivated state any more; such a key
        # is active, "designated for processing only" (§6.2)
        _S.PRE_ACTIVATION: "pre-activation",
        _S.ACTIVE: "active",
        _S.SUSPENDED: "suspended",
        _S.DEACTIVATED: "active",
        _S.COMPROMISED: "compromised",
        _S.DESTROYED: "destroyed",
        _S.DESTROYED_COMPROMISED: "destroyed",
    }
)

KMIP_2_1: Final[Mapping[VersionState, str]] = MappingProxyType(
    {  # OASIS KMIP 2.1 State enumeration; it has no suspension: KMIP revokes or deactivates
        _S.PRE_ACTIVATION: "Pre-Active",
        _S.ACTIVE: "Active",
        _S.SUSPENDED: "Deactivated",
        _S.DEACTIVATED: "Deactivated",
        _S.COMPROMISED: "Compromised",
        _S.DESTROYED: "Destroyed",
        _S.DESTROYED_COMPROMISED: "Destroyed Compromised",
    }
)


def is_legal(state: VersionState, trigger: Trigger) -> bool:
    """Whether the table allows the change."""
    return TABLE[state, trigger] is not None


def transition(
    state: VersionState, trigger: Trigger, *, resume_to: VersionState | None = None
) -> VersionState:
    """The state after a trigger. ``resume_to``: where the suspension came from, needed to resume.

    Raises:
        IllegalTransitionError: the table does not allow it; names both.
    """
    after = TABLE[state, trigger]
    if after is None:
        message = f"a version that is {state} cannot {trigger}"
        raise IllegalTransitionError(message)
    if trigger is Trigger.RESUME:
        if resume_to not in RESUMABLE:
            message = f"a suspended version cannot resume to {resume_to}"
            raise IllegalTransitionError(message)
        return resume_to
    return after
