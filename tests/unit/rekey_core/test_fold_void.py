"""Facts without effect: each kind of wrong one leaves the key as it was, is kept by name, and has to be seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rekey_core.commands import command_id
from rekey_core.contracts import (
    Activated,
    Compromised,
    Deactivated,
    Fact,
    RotationRequested,
    SignedCommand,
    Suspend,
    Suspended,
)
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import Stored, Void
from rekey_core.errors import (
    CheckSequenceError,
    IllegalTransitionError,
    MalformedError,
    SchemaError,
    SignatureError,
    UnknownTypeError,
)
from rekey_core.lifecycle import VersionState
from tests.unit.facts import BASE, HOUR, generation, grant, person_request, registration, states, stop, world
from tests.unit.world import NOW, World, p256_spki

S = VersionState


def voided(w: World, bad: Fact) -> MalformedError:
    """What is wrong with a fact, which must have no effect, and must be what the next fact has to have seen."""
    before, stored = w.state(), w.add(bad)
    after = before.apply(stored, w.trust)
    assert after == replace(before, last_sequence=stored.sequence, voids=(*before.voids, after.voids[-1]))
    assert after.voids[-1].sequence == stored.sequence
    return after.voids[-1].error


UNREGISTERED: dict[str, Callable[[World], Fact]] = {
    "by somebody else's command": lambda w: registration(w, w.register(author="otto")),
    "to somebody else": lambda w: registration(w, owner="otto"),
    "by a responder": lambda w: registration(w, w.register(author="rita"), owner="rita"),
    "with another purpose": lambda w: registration(w, purpose="everything"),
    "with another class": lambda w: registration(w, key_class="token-signing"),
    "with a class that does not exist": lambda w: registration(w, key_class="secret"),
    "with another algorithm": lambda w: registration(w, algorithm="EC-P256"),
    "with another release": lambda w: registration(w, release="never"),
    "with another cryptoperiod": lambda w: registration(w, cryptoperiod_s=1),
    "with a longer cryptoperiod than the class": lambda w: registration(
        w, w.register(cryptoperiod_s=91 * 24 * 3600), cryptoperiod_s=91 * 24 * 3600
    ),
    "with a cause that is not its command": lambda w: registration(w, cause="f" * 64),
    "of another key's command": lambda w: registration(w, w.register(key="orders-archive")),
    "with a command to rotate": lambda w: registration(w, w.rotate()),
    "with a signature by another owner": lambda w: registration(
        w, w.register().model_copy(update={"sshsig": w.register(author="otto").sshsig})
    ),
    "with a command from the future": lambda w: registration(
        w, w.register(issued_at=NOW + HOUR, expires_at=NOW + HOUR + timedelta(minutes=1))
    ),
    "with a command that lives for a day": lambda w: registration(w, w.register(expires_at=NOW + 24 * HOUR)),
    "of another environment": lambda w: registration(w).model_copy(update={"env": "prod"}),
    "of another key": lambda w: registration(w).model_copy(update={"key": "billing-db"}),
    "under an unknown policy": lambda w: registration(w, policy="0" * 64),
    "that saw a fact that is not there": lambda w: registration(w, checked=1),
}


@pytest.mark.parametrize("bad", UNREGISTERED.values(), ids=UNREGISTERED)
def test_a_registration_is_void(bad: Callable[[World], Fact]) -> None:
    w = replace(BASE, log=[])
    voided(w, bad(w))
    assert not w.state().is_registered


def test_a_registration_as_commanded_is_none_of_these() -> None:
    w = replace(BASE, log=[])
    w.add(registration(w))
    assert (w.state().voids, w.state().is_registered) == ((), True)


BEFORE_REGISTRATION: dict[str, Callable[[World], Fact]] = {
    "granted": lambda w: grant(w, w.register()),
    "rotation-requested": lambda w: w.fact(RotationRequested, 1, reason="time", deadline=NOW),
    "activated": lambda w: w.fact(Activated, 1, proved=()),
    "deactivated": lambda w: w.fact(Deactivated, 1, proved=()),
    "suspended": lambda w: stop(w, w.suspend(0), 0),
    "compromised": lambda w: stop(w, w.revoke(0), 0, Compromised),
    "generated": lambda w: generation(w, None, 1),
}


@pytest.mark.parametrize("bad", BEFORE_REGISTRATION.values(), ids=BEFORE_REGISTRATION)
def test_nothing_happens_to_a_key_that_does_not_exist(bad: Callable[[World], Fact]) -> None:
    w = replace(BASE, log=[])
    assert isinstance(voided(w, bad(w)), IllegalTransitionError)


Bad = tuple[type[MalformedError], Callable[[World], Fact]]
NO_COMMAND = SignedCommand(payload="", sshsig="")  # whoever asks what it says gets an error

# each on a key with version 1 current
VOID: dict[str, Bad] = {
    "registered twice": (IllegalTransitionError, registration),
    "granted by another owner": (SchemaError, lambda w: grant(w, w.register(author="otto"))),
    "granted to one whom the command does not name": (
        SchemaError,
        lambda w: grant(w, w.register(), dependent="shipping"),
    ),
    "granted for a version": (
        SchemaError,
        lambda w: grant(w, w.register()).model_copy(update={"version": 1}),
    ),
    "granted by a command to rotate": (SchemaError, lambda w: grant(w, w.rotate())),
    "a version is skipped": (
        IllegalTransitionError,
        lambda w: w.fact(RotationRequested, 3, reason="time", deadline=NOW),
    ),
    "a version is requested twice": (
        IllegalTransitionError,
        lambda w: w.fact(RotationRequested, 1, reason="time", deadline=NOW),
    ),
    "the key itself is requested": (
        IllegalTransitionError,
        lambda w: w.fact(RotationRequested, 0, reason="time", deadline=NOW),
    ),
    "a second version is the initial one": (
        IllegalTransitionError,
        lambda w: w.fact(RotationRequested, 2, reason="initial", deadline=NOW),
    ),
    "a person's request without a command": (SchemaError, lambda w: person_request(w, None)),
    "a person's request by another owner": (SchemaError, lambda w: person_request(w, w.rotate("otto"))),
    "a person's request by a responder": (SchemaError, lambda w: person_request(w, w.rotate("rita"))),
    "a person's request for another key": (
        SchemaError,
        lambda w: person_request(w, w.rotate(key="orders-archive")),
    ),
    "a person's request by a command to suspend": (SchemaError, lambda w: person_request(w, w.suspend(1))),
    "a clock's request with an owner's command inside": (
        SchemaError,
        lambda w: person_request(w, w.rotate(), reason="time").model_copy(update={"cause": "time-2"}),
    ),
    "a clock's request with a command that is none": (
        SchemaError,
        lambda w: w.fact(RotationRequested, 2, "time-2", reason="time", deadline=NOW, command=NO_COMMAND),
    ),
    "a clock's request on account of an owner's command": (
        SchemaError,
        lambda w: w.fact(RotationRequested, 2, command_id(w.rotate()), reason="time", deadline=NOW),
    ),
    "a volume's request on account of a clock": (
        SchemaError,
        lambda w: w.fact(RotationRequested, 2, "time-2", reason="volume", deadline=NOW),
    ),
    "generated without a request": (IllegalTransitionError, lambda w: generation(w, None, 2)),
    "generated again": (IllegalTransitionError, lambda w: generation(w, w.log[3], 1)),
    "activated again": (IllegalTransitionError, lambda w: w.fact(Activated, 1, proved=())),
    "a version that does not exist is activated": (
        IllegalTransitionError,
        lambda w: w.fact(Activated, 2, proved=()),
    ),
    "the key itself is activated": (IllegalTransitionError, lambda w: w.fact(Activated, 0, proved=())),
    "the current version is deactivated": (
        IllegalTransitionError,
        lambda w: w.fact(Deactivated, 1, proved=()),
    ),
    "suspended by an owner": (SchemaError, lambda w: stop(w, w.suspend(1, "alice"), 1)),
    "suspended by a revocation": (SchemaError, lambda w: stop(w, w.revoke(1), 1)),
    "compromised by a suspension": (SchemaError, lambda w: stop(w, w.suspend(1), 1, Compromised)),
    "more suspended than the command says": (SchemaError, lambda w: stop(w, w.suspend(1), 0)),
    "less suspended than the command says": (SchemaError, lambda w: stop(w, w.suspend(0), 1)),
    "a version that does not exist is suspended": (
        IllegalTransitionError,
        lambda w: stop(w, w.suspend(9), 9),
    ),
    "suspended by the command for another key": (
        SchemaError,
        lambda w: stop(w, w.suspend(1, key="billing-db"), 1),
    ),
    "a stop with a cause that is not its command": (
        SchemaError,
        lambda w: stop(w, w.suspend(1), 1, cause="f" * 64),
    ),
    "a stop with an altered signature": (
        SignatureError,
        lambda w: stop(w, w.suspend(1).model_copy(update={"sshsig": w.suspend(1).sshsig}), 1),
    ),
    "decided without the fact before": (
        CheckSequenceError,
        lambda w: w.fact(RotationRequested, 2, reason="time", deadline=NOW, checked=w.log[-2].sequence),
    ),
    "decided on what is not there yet": (
        CheckSequenceError,
        lambda w: w.fact(RotationRequested, 2, reason="time", deadline=NOW, checked=w.log[-1].sequence + 1),
    ),
    "a stop decided without the fact before": (
        CheckSequenceError,
        lambda w: stop(w, w.suspend(1), 1, checked=0),
    ),
    "under an unknown policy": (
        SchemaError,
        lambda w: w.fact(RotationRequested, 2, reason="time", deadline=NOW, policy="0" * 64),
    ),
}


@pytest.mark.parametrize(("error", "bad"), VOID.values(), ids=VOID)
def test_a_fact_is_void(error: type[MalformedError], bad: Callable[[World], Fact]) -> None:
    w = world(versions=1)
    assert type(voided(w, bad(w))) is error


# each on a key whose version 1 is current and 2 requested
VOID_IN_MOTION: dict[str, Bad] = {
    "a third version while the second is in motion": (
        IllegalTransitionError,
        lambda w: w.fact(RotationRequested, 3, reason="time", deadline=NOW),
    ),
    "generated for another request": (IllegalTransitionError, lambda w: generation(w, w.log[3], 2)),
    "generated as another algorithm": (
        SchemaError,
        lambda w: generation(w, w.log[-1], 2, algorithm="EC-P256", spki=b64u_encode(p256_spki())),
    ),
    "generated for another release": (SchemaError, lambda w: generation(w, w.log[-1], 2, release="never")),
    "a secret with a public key": (
        SchemaError,
        lambda w: generation(w, w.log[-1], 2, spki=b64u_encode(p256_spki())),
    ),
    "a Tink key id that version 1 has": (SchemaError, lambda w: generation(w, w.log[-1], 2, key_id=1001)),
    "activated before it is generated": (IllegalTransitionError, lambda w: w.fact(Activated, 2, proved=())),
    "deactivated before it is activated": (
        IllegalTransitionError,
        lambda w: w.fact(Deactivated, 2, proved=()),
    ),
}


@pytest.mark.parametrize(("error", "bad"), VOID_IN_MOTION.values(), ids=VOID_IN_MOTION)
def test_a_fact_about_a_version_in_motion_is_void(
    error: type[MalformedError], bad: Callable[[World], Fact]
) -> None:
    w = world(versions=1)
    w.requested(2)
    assert type(voided(w, bad(w))) is error


def test_the_version_in_motion_as_requested_is_none_of_these() -> None:
    w = world(versions=1)
    request = w.requested(2)
    w.add(generation(w, request, 2))
    w.backed_up(2)
    w.activated(2)
    assert (w.state().voids, w.state().current) == ((), 2)


SPKI = b64u_encode(p256_spki())


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"spki": None}, id="no public key"),
        pytest.param({"spki": SPKI, "commitment": "cd" * 32}, id="a commitment to something else"),
        pytest.param({"spki": SPKI[:-4]}, id="a public key that is none"),
        pytest.param({"spki": "A"}, id="a public key that is not base64url of bytes"),
    ],
)
def test_a_key_pair_is_void_with(fields: dict[str, Any]) -> None:
    w = world(release="never")
    request = w.requested(1)
    body = {"algorithm": "EC-P256", "release": "never"} | fields
    assert isinstance(voided(w, generation(w, request, 1, **body)), SchemaError)


def test_what_is_suspended_is_neither_activated_nor_deactivated() -> None:
    w = world(versions=2)
    w.suspended(0)
    kinds: tuple[type[Fact], ...] = (Activated, Deactivated)
    for kind, version in itertools.product(kinds, (1, 2)):
        assert isinstance(voided(w, w.fact(kind, version, proved=())), IllegalTransitionError)
    assert states(w) == {1: S.SUSPENDED, 2: S.SUSPENDED}


EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
EDGES = {
    "the first moment": datetime.min.replace(tzinfo=UTC),
    "the first moment anywhere": datetime.min.replace(tzinfo=EAST),
    "the last moment": datetime.max.replace(tzinfo=UTC),
    "the last moment anywhere": datetime.max.replace(tzinfo=WEST),
}
SIGNERS = {"its author": "rita", "somebody else": "otto"}  # who signs with another key is asked about twice


@pytest.mark.parametrize("by", SIGNERS.values(), ids=SIGNERS)
@pytest.mark.parametrize("expires_at", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("issued_at", EDGES.values(), ids=EDGES)
def test_a_stop_whose_command_is_of_no_time_is_void_and_ends_no_reader(
    issued_at: datetime, expires_at: datetime, by: str
) -> None:
    w = world(versions=1)
    command = w.command(Suspend, "rita", version=1, issued_at=issued_at, expires_at=expires_at)
    assert isinstance(voided(w, stop(w, w.signed(command, by), 1)), SchemaError | SignatureError)
    w.suspended(1)
    assert states(w) == {1: S.SUSPENDED}


@pytest.mark.parametrize("kind", [Suspended, Compromised])
def test_one_stop_command_has_one_effect(kind: type[Fact]) -> None:
    w = world(versions=1)
    command = w.suspend(0) if kind is Suspended else w.revoke(0)
    w.add(stop(w, command, 0, kind))
    w.version(2)
    assert isinstance(voided(w, stop(w, command, 0, kind)), SchemaError)
    assert states(w)[2] is S.ACTIVE


def test_one_command_to_rotate_makes_one_rotation() -> None:
    w = world(versions=1)
    command = w.rotate()
    request = w.add(person_request(w, command))
    w.generated(2, request)
    w.activated(2)
    assert isinstance(voided(w, person_request(w, command, version=3)), SchemaError)


def test_a_fact_must_have_seen_the_void_one_before_it() -> None:
    w = world(versions=1)
    voided(w, w.fact(Activated, 1, proved=()))
    unseen = w.fact(RotationRequested, 2, reason="time", deadline=NOW, checked=w.log[-2].sequence)
    assert isinstance(voided(w, unseen), CheckSequenceError)
    w.version(2)
    assert (len(w.state().voids), w.state().current) == (2, 2)


def test_what_stands_before_what_was_folded_is_void_and_moves_nothing_back() -> None:
    w = world(versions=1)
    state = w.state()
    old = Stored(w.fact(RotationRequested, 2, reason="time", deadline=NOW), 1, NOW, "old", w.log[0].signed)
    after = state.apply(old, w.trust)
    assert (after.last_sequence, len(after.voids)) == (state.last_sequence, 1)


def test_an_unreadable_message_has_to_be_seen_and_does_nothing() -> None:
    w = world(versions=1)
    state = w.state()
    sequence = state.last_sequence + 5
    after = state.apply(Void(sequence, "evt.x", SignatureError("wrong")), w.trust)
    assert (after.last_sequence, after.undecidable, after.current) == (sequence, None, 1)


def test_a_valid_fact_of_an_unknown_type_stops_everything_but_stops() -> None:
    w = world(versions=1)
    unknown = Void(w.log[-1].sequence + 5, "evt.x", UnknownTypeError("type v2"), validly_signed=True)
    state = w.state().apply(unknown, w.trust)
    assert state.undecidable == "type v2"
    request = w.fact(RotationRequested, 2, reason="time", deadline=NOW, checked=unknown.sequence)
    state = state.apply(Stored(request, unknown.sequence + 1, NOW, "evt.y", w.log[0].signed), w.trust)
    assert (len(state.voids), state.in_motion()) == (2, None)
    suspension = stop(w, w.suspend(0), 0, checked=unknown.sequence + 1)
    state = state.apply(Stored(suspension, unknown.sequence + 2, NOW, "evt.z", w.log[0].signed), w.trust)
    assert (state.versions[1].state, state.current, state.undecidable) == (S.SUSPENDED, None, "type v2")


def test_no_policy_keeps_a_stop_away() -> None:
    w = world(versions=1)
    w.add(stop(w, w.suspend(1), 1, policy="0" * 64))
    assert states(w) == {1: S.SUSPENDED}


def test_a_command_outlives_the_time_that_its_service_was_down() -> None:
    w = world(versions=1)
    w.add(stop(w, w.suspend(1), 1), at=NOW + timedelta(days=3))
    assert states(w) == {1: S.SUSPENDED}


def test_no_other_fact_can_use_up_a_responders_command() -> None:
    """A taken-over scheduler that learns of a stop names it as the cause of something else: it stops all the same."""
    w = world(versions=1)
    command = w.suspend(1)
    voided(w, w.fact(RotationRequested, 2, command_id(command), reason="time", deadline=NOW + HOUR))
    assert not w.state().has_stopped(command_id(command))
    w.add(stop(w, command, 1))
    assert states(w)[1] is S.SUSPENDED
    assert w.state().has_stopped(command_id(command))
