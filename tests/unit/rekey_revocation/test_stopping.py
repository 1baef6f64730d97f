"""What a responder's command does to a key, and who has not stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rekey_core.commands import command_id, read_command
from rekey_core.contracts import KeyReceipt, Receipt, Resume, Revoke, SignedCommand, Suspend
from rekey_core.envelope import Void
from rekey_core.errors import (
    AlreadyDoneError,
    NotFoundError,
    RekeyError,
    StateRefusedError,
    UndecidableKeyError,
    UnknownTypeError,
)
from rekey_core.lifecycle import VersionState
from rekey_core.suspension import stops
from rekey_revocation import stopping
from tests.unit.facts import resume, states, world
from tests.unit.fleet import ONE, OTHER, Fleet, endorsement
from tests.unit.world import ENV, NOW, World

KEY = "orders-db"


def stop(w: World, signed: SignedCommand) -> None:
    command = read_command(signed)
    assert isinstance(command, Suspend | Revoke)
    w.add(stopping.stop_fact(w.state(), command, signed, NOW))


@pytest.mark.parametrize(
    ("version", "stopped"),
    [
        pytest.param(1, {1}, id="one version"),
        pytest.param(0, {1, 2}, id="the whole key"),
    ],
)
def test_a_suspension_stops_what_it_names(version: int, stopped: set[int]) -> None:
    w = world(versions=2)
    stop(w, w.suspend(version))
    assert w.state().voids == ()
    assert {n for n, s in states(w).items() if s is VersionState.SUSPENDED} == stopped
    assert {entry.version for entry in stops(w.state().versions)} == stopped


def test_a_suspicion_can_be_confirmed() -> None:
    w = world(versions=1)
    stop(w, w.suspend(1))
    stop(w, w.revoke(1))
    assert states(w) == {1: VersionState.COMPROMISED}
    assert len(stopping.stop_for(w.state(), "orders", NOW).stopped) == 2


@pytest.mark.parametrize(
    ("version", "error", "words"),
    [
        pytest.param(
            7, NotFoundError, "orders-db@7 does not exist; versions: 1", id="a version that does not exist"
        ),
        pytest.param(
            2, StateRefusedError, "version 2 is compromised", id="a version that is compromised already"
        ),
    ],
)
def test_what_is_refused(version: int, error: type[RekeyError], words: str) -> None:
    w = world(versions=2)
    stop(w, w.suspend(1))
    stop(w, w.revoke(2))
    with pytest.raises(error, match=words):
        stop(w, w.suspend(version))


def lift(w: World, signed: SignedCommand) -> None:
    command = read_command(signed)
    assert isinstance(command, Resume)
    w.add(stopping.resume_fact(w.state(), command, signed, NOW))


def test_each_responders_suspension_counts_and_a_resume_lifts_them_all() -> None:
    w = world(versions=1)
    stop(w, w.suspend(1))
    stop(w, w.suspend(1))
    lift(w, resume(w, 1))
    assert (w.state().voids, states(w), w.state().current) == ((), {1: VersionState.ACTIVE}, 1)
    assert stopping.stop_for(w.state(), "orders", NOW).stopped == ()


@pytest.mark.parametrize(
    ("number", "said", "words"),
    [
        pytest.param(
            1, {"seen": 1}, r"orders-db@1: rita saw orders-db as of 1, it is as of \d+", id="an older state"
        ),
        pytest.param(1, {"lifts": ("0" * 64,)}, "does not name its suspensions", id="other suspensions"),
        pytest.param(
            2, {"lifts": ("0" * 64,)}, "orders-db@2 is active, expected suspended", id="a version that works"
        ),
        pytest.param(7, {}, "orders-db@7 does not exist", id="a version that does not exist"),
    ],
)
def test_which_resume_is_refused(number: int, said: dict[str, Any], words: str) -> None:
    w = world(versions=2)
    stop(w, w.suspend(1))
    with pytest.raises(RekeyError, match=words) as raised:
        lift(w, resume(w, number, **said))
    assert "rekey key" in (raised.value.hint or "")
    assert states(w)[1] is VersionState.SUSPENDED


def test_a_resume_is_done_once_and_needs_a_key_that_can_be_decided_on() -> None:
    w = world(versions=1)
    stop(w, w.suspend(1))
    signed = resume(w, 1)
    command = read_command(signed)
    assert isinstance(command, Resume)
    unknown = Void(
        w.log[-1].sequence + 1, "evt", UnknownTypeError("rekey.key.blessed.v1"), validly_signed=True
    )
    with pytest.raises(UndecidableKeyError):
        stopping.resume_fact(w.state().apply(unknown, w.trust), command, signed, NOW)
    lift(w, signed)
    with pytest.raises(AlreadyDoneError):
        lift(w, signed)
    with pytest.raises(NotFoundError):
        stopping.resume_fact(World().state(), command, signed, NOW)


def test_a_key_that_is_not_registered_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="orders-db is not registered"):
        stop(World(), World().suspend(1))


def test_a_command_that_the_log_names_is_done() -> None:
    w = world(versions=1)
    signed = w.suspend(1)
    stop(w, signed)
    assert command_id(signed) in w.state().causes
    with pytest.raises(AlreadyDoneError):
        stop(w, signed)


def test_a_key_that_nobody_can_decide_on_can_still_be_stopped() -> None:
    w = world(versions=1)
    unknown = Void(
        w.log[-1].sequence + 1, "evt", UnknownTypeError("rekey.key.blessed.v1"), validly_signed=True
    )
    state = w.state().apply(unknown, w.trust)
    assert state.undecidable
    signed = w.suspend(1)
    command = read_command(signed)
    assert isinstance(command, Suspend)
    fact = stopping.stop_fact(state, command, signed, NOW)
    after = state.apply(w.stored(fact, gap=5), w.trust)
    assert after.versions[1].state is VersionState.SUSPENDED


def says(fleet: Fleet, dependent: str, instance: str, refused: tuple[int, ...]) -> None:
    held = KeyReceipt(proofs={}, protects=None, stopped=(), refused=refused, as_of=1)
    fleet.receipts.append(
        Receipt(
            env=ENV,
            dependent=dependent,
            instance=instance,
            endorsement=endorsement(dependent, instance),
            n=1,
            at=NOW,
            keys={KEY: held},
        )
    )


def test_who_is_live_and_has_not_said_that_it_stopped_is_named() -> None:
    w = world(versions=1)
    stop(w, w.suspend(1))
    fleet = Fleet(w)
    fleet.live("orders", ONE)
    fleet.live("billing", OTHER)
    both = (("billing", OTHER), ("orders", ONE))
    assert stopping.not_stopped(w.state(), fleet.leases, fleet.receipts, NOW) == both
    says(fleet, "orders", ONE, (1,))
    assert stopping.not_stopped(w.state(), fleet.leases, fleet.receipts, NOW) == both[:1]
    after_its_lease = NOW + timedelta(seconds=33)  # and its margin
    assert stopping.not_stopped(w.state(), fleet.leases, fleet.receipts, after_its_lease) == ()


def test_a_receipt_about_another_version_is_not_enough() -> None:
    w = world(versions=2)
    stop(w, w.suspend(0))
    fleet = Fleet(w)
    fleet.live("orders", ONE)
    says(fleet, "orders", ONE, (1,))
    assert stopping.not_stopped(w.state(), fleet.leases, fleet.receipts, NOW) == (("orders", ONE),)


def test_an_instance_that_left_is_not_waited_for() -> None:
    w = world(versions=1)
    stop(w, w.suspend(1))
    fleet = Fleet(w)
    fleet.live("orders", ONE, ended=True)
    assert stopping.not_stopped(w.state(), fleet.leases, fleet.receipts, NOW) == ()
