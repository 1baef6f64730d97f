"""What people are told of a destruction: from when on, by whom, what is claimed, and who has the version still."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rekey_audit import questions
from rekey_audit.entries import fact_entry
from rekey_core.adoption import adoption
from rekey_core.contracts import Endorsement, KeyReceipt, Lease, LeasedKey, Receipt, Signed
from rekey_core.envelope import Stored
from rekey_core.policy import class_named
from tests.unit.facts import world
from tests.unit.world import ENV, NOW, World

KEY = "orders-db"
DUE = NOW + timedelta(seconds=class_named("application-data").destruction_delay_s)
ENDORSEMENT = Endorsement(
    env=ENV, dependent="orders", instance="0" * 32, instance_key="", issued_at=NOW, signature=""
)
SIGNED = Signed(type="t", payload="", key_id="", signature="")


def a_world() -> World:
    """Version 1 deactivated, 2 current."""
    w = world(versions=2)
    w.deactivated(1)
    return w


def test_a_summary_says_from_when_on_and_counts() -> None:
    w = a_world()
    assert [v.destruction for v in questions.summary(w.state()).versions] == [None, None]
    w.scheduled(1)
    assert [v.destruction for v in questions.summary(w.state()).versions] == [DUE, None]
    w.destroyed(1, at=DUE)
    told = questions.summary(w.state(), newest=1)
    assert (told.counts, [v.version for v in told.versions]) == ({"destroyed": 1, "active": 1}, [2])
    assert [v.destruction for v in questions.summary(w.state()).versions] == [None, None]


def test_a_history_names_the_people_and_what_is_claimed() -> None:
    w = a_world()
    told = [fact_entry(w.scheduled(1)), fact_entry(w.cancelled(1)), fact_entry(w.scheduled(1))]
    told.append(fact_entry(w.destroyed(1, at=DUE)))
    assert [(e.event, e.author, e.person) for e in told] == [
        ("destruction-scheduled", "rotation-scheduler", "alice"),
        ("destruction-cancelled", "rotation-scheduler", "alice"),
        ("destruction-scheduled", "rotation-scheduler", "alice"),
        ("destroyed", "generator", None),
    ]
    assert told[0].detail.endswith(": a test")
    assert told[3].detail == (
        "claimed: wrapped-blob-overwritten; not claimed: nothing; certain when KEK epoch 1 dies"
    )


def test_a_version_that_was_never_generated_has_nothing_to_be_certain_of() -> None:
    w = world(versions=1)
    w.requested(2)
    w.scheduled(2)
    assert fact_entry(w.destroyed(2, at=DUE)).detail.endswith("it was never generated")


@pytest.mark.parametrize(
    ("destroyed", "refused", "has_left"),
    [
        pytest.param((1,), (), True, id="who says so"),
        pytest.param((), (), False, id="who says nothing"),
        pytest.param((2,), (1,), False, id="who says something else"),
    ],
)
def test_who_has_it_no_longer_is_what_instances_signed(
    *, destroyed: tuple[int, ...], refused: tuple[int, ...], has_left: bool
) -> None:
    w = a_world()
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    common = {"env": ENV, "dependent": "orders", "instance": "0" * 32, "endorsement": ENDORSEMENT, "at": NOW}
    leased = {KEY: LeasedKey(versions=(1, 2), as_of=0, lease_s=30)}
    lease = Lease.model_validate(common | {"at": DUE, "nonce": "0" * 32, "keys": leased})
    held = KeyReceipt(proofs={}, protects=2, stopped=(1,), refused=refused, destroyed=destroyed, as_of=0)
    receipt = Receipt.model_validate(common | {"n": 1, "keys": {KEY: held}})
    state = w.state()
    receipts = [Stored(receipt, 1, NOW, "rcpt", SIGNED)]
    found = adoption(state, 1, [Stored(lease, 1, NOW, "lse", SIGNED)], receipts, [], DUE)
    _, orders = questions.dependents(state, state.versions[1], found, receipts)
    assert [instance.stopped for instance in orders.instances] == [has_left]
