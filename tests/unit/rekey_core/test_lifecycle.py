"""Every (state, trigger) pair of a version's life, and what the states are called elsewhere."""

from __future__ import annotations

import itertools

import pytest

from rekey_core.errors import IllegalTransitionError
from rekey_core.lifecycle import (
    KMIP_2_1,
    SP_800_57_R5,
    SP_800_57_R6_IPD,
    TABLE,
    Trigger,
    VersionState,
    is_legal,
    transition,
)

S, T = VersionState, Trigger

LEGAL = {
    "a made version is activated": (S.PRE_ACTIVATION, T.ACTIVATE, S.ACTIVE),
    "a made version is suspended before it was used": (S.PRE_ACTIVATION, T.SUSPEND, S.SUSPENDED),
    "a made version is compromised before it was used": (S.PRE_ACTIVATION, T.COMPROMISE, S.COMPROMISED),
    "a made version that nobody needs is destroyed": (S.PRE_ACTIVATION, T.DESTROY, S.DESTROYED),
    "an active version is deactivated": (S.ACTIVE, T.DEACTIVATE, S.DEACTIVATED),
    "an active version is suspended": (S.ACTIVE, T.SUSPEND, S.SUSPENDED),
    "an active version is compromised": (S.ACTIVE, T.COMPROMISE, S.COMPROMISED),
    "a suspended version is resumed": (S.SUSPENDED, T.RESUME, S.ACTIVE),
    "a suspended version is suspended once more": (S.SUSPENDED, T.SUSPEND, S.SUSPENDED),
    "a suspicion is confirmed": (S.SUSPENDED, T.COMPROMISE, S.COMPROMISED),
    "a deactivated version is suspended": (S.DEACTIVATED, T.SUSPEND, S.SUSPENDED),
    "a deactivated version is compromised": (S.DEACTIVATED, T.COMPROMISE, S.COMPROMISED),
    "a deactivated version is destroyed": (S.DEACTIVATED, T.DESTROY, S.DESTROYED),
    "a compromised version is destroyed": (S.COMPROMISED, T.DESTROY, S.DESTROYED_COMPROMISED),
    "a destroyed version turns out compromised": (S.DESTROYED, T.COMPROMISE, S.DESTROYED_COMPROMISED),
}
ILLEGAL = sorted(set(itertools.product(S, T)) - {(state, trigger) for state, trigger, _ in LEGAL.values()})


def test_the_table_has_a_row_for_every_pair() -> None:
    assert set(TABLE) == set(itertools.product(VersionState, Trigger))


@pytest.mark.parametrize(
    ("state", "trigger", "after"), [pytest.param(*row, id=name) for name, row in LEGAL.items()]
)
def test_what_may_happen(state: VersionState, trigger: Trigger, after: VersionState) -> None:
    resume_to = S.ACTIVE if trigger is T.RESUME else None
    assert transition(state, trigger, resume_to=resume_to) is after
    assert is_legal(state, trigger)


@pytest.mark.parametrize(("state", "trigger"), [pytest.param(s, t, id=f"{s} never {t}") for s, t in ILLEGAL])
def test_what_may_not_happen(state: VersionState, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransitionError, match=f"that is {state} cannot {trigger}"):
        transition(state, trigger, resume_to=S.ACTIVE)
    assert not is_legal(state, trigger)


@pytest.mark.parametrize("origin", [S.PRE_ACTIVATION, S.ACTIVE, S.DEACTIVATED])
def test_resuming_goes_back_to_where_the_suspension_came_from(origin: VersionState) -> None:
    assert transition(S.SUSPENDED, T.RESUME, resume_to=origin) is origin


@pytest.mark.parametrize("origin", [None, S.SUSPENDED, S.COMPROMISED, S.DESTROYED, S.DESTROYED_COMPROMISED])
def test_resuming_to_anything_else_is_refused(origin: VersionState | None) -> None:
    with pytest.raises(IllegalTransitionError, match="cannot resume"):
        transition(S.SUSPENDED, T.RESUME, resume_to=origin)


@pytest.mark.parametrize(
    ("projection", "names"),
    [
        pytest.param(
            SP_800_57_R5,
            {"pre-activation", "active", "suspended", "deactivated", "compromised", "destroyed"},
            id="SP 800-57 part 1 Rev 5 §7",
        ),
        pytest.param(
            SP_800_57_R6_IPD,
            {"pre-activation", "active", "suspended", "compromised", "destroyed"},
            id="the draft of Rev 6 §6, without a deactivated state",
        ),
        pytest.param(
            KMIP_2_1,
            {"Pre-Active", "Active", "Deactivated", "Compromised", "Destroyed", "Destroyed Compromised"},
            id="KMIP 2.1 State",
        ),
    ],
)
def test_every_state_has_a_name_elsewhere(projection: dict[VersionState, str], names: set[str]) -> None:
    assert set(projection) == set(VersionState)
    assert set(projection.values()) == names


def test_no_trigger_but_a_resumption_lifts_a_suspension() -> None:
    usable = {S.PRE_ACTIVATION, S.ACTIVE, S.DEACTIVATED}
    assert {t for t in T if TABLE[S.SUSPENDED, t] in usable} == {T.RESUME}


def test_nothing_leads_back_from_compromised_or_destroyed() -> None:
    ends = {S.COMPROMISED, S.DESTROYED, S.DESTROYED_COMPROMISED}
    assert {after for (before, _), after in TABLE.items() if before in ends and after} <= ends
