"""Who has proved what of a version: nothing counts that somebody without the key could have written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rekey_core.adoption import LEASE_MARGIN_S, InstanceProof, is_live, proved
from rekey_core.confirmation import Phase, VersionContext, probe_message
from rekey_core.contracts import Probe, ProbeSignature
from rekey_core.encoding import b64u_encode
from rekey_core.names import Algorithm, Release
from tests.unit.facts import world
from tests.unit.fleet import KEY, ONE, OTHER, TWO, Fleet
from tests.unit.world import ENV, NOW, World

MARGIN: Final = timedelta(seconds=LEASE_MARGIN_S)
LENGTH: Final = timedelta(seconds=30)  # of the leases here


def moving() -> World:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    return w


def activated() -> World:
    w = moving()
    w.activated(2)
    return w


MOVING, ACTIVATED = moving(), activated()


def fleet(*, active: bool = False) -> Fleet:
    """One instance of orders, to which version 2 was delivered."""
    made = Fleet(ACTIVATED if active else MOVING)
    made.live("orders", ONE)
    made.deliver("orders", ONE)
    return made


def test_an_instance_that_has_said_nothing_has_proved_nothing() -> None:
    f = fleet()
    assert f.adoption().dependents == {
        "billing": (),
        "orders": (
            InstanceProof(ONE, NOW + timedelta(seconds=30), installed=False, switched=False, stopped=False),
        ),
    }
    assert (f.adoption().all_installed, f.adoption().all_switched) == (False, False)
    assert f.adoption().missing("installed") == f.adoption().missing("switched") == (f"orders/{ONE}",)


def test_the_value_of_a_holder_proves_that_it_holds() -> None:
    f = fleet()
    f.says("orders", ONE, f.confirmation(ONE))
    assert (f.proof().installed, f.proof().switched) == (True, False)
    assert (f.adoption().all_installed, f.adoption().missing("installed")) == (True, ())
    assert f.adoption().missing("switched") == (f"orders/{ONE}",)


def test_a_first_version_waits_for_nobody_when_nobody_is_live() -> None:
    empty = Fleet(MOVING).adoption()
    assert dict(empty.dependents) == {"billing": (), "orders": ()}
    assert (empty.all_installed, empty.all_switched) == (True, True)


def test_one_instance_that_is_late_is_named() -> None:
    f = fleet()
    f.says("orders", ONE, f.confirmation(ONE))
    f.live("billing", TWO)
    assert not f.adoption().all_installed
    assert f.adoption().missing("installed") == (f"billing/{TWO}",)


def test_a_version_in_a_signed_lease_was_proved_before() -> None:
    f = Fleet(MOVING)
    f.live("orders", ONE, leased=(1, 2))
    assert f.proof().installed
    f.says("orders", ONE, None)
    assert (f.proof().installed, f.proof().switched) == (True, False)


def test_a_version_in_a_signed_lease_that_was_dropped_for_a_stop_since_is_not_held_any_more() -> None:
    """Suspended and resumed within one lease: the version is in motion again, and its holder has it no more."""
    f = Fleet(MOVING)
    f.live("orders", ONE, leased=(1, 2))
    f.says("orders", ONE, None, stopped=(2,), refused=(2,))
    assert not f.proof().installed
    assert f.adoption().missing("installed") == (f"orders/{ONE}",)


UNPROVED: dict[str, Callable[[Fleet], object]] = {
    "a receipt without a proof": lambda f: f.says("orders", ONE, None),
    "a proof of another version": lambda f: f.says("orders", ONE, f.confirmation(ONE, 1), version=1),
    "the value of another version": lambda f: f.says("orders", ONE, f.confirmation(ONE, 1)),
    "the value of another instance": lambda f: f.says("orders", ONE, f.confirmation(TWO)),
    "a guessed value": lambda f: f.says(
        "orders", ONE, f.confirmation(ONE).model_copy(update={"installed": "00" * 32})
    ),
    "the hash instead of the value": lambda f: f.says(
        "orders",
        ONE,
        f.confirmation(ONE).model_copy(update={"installed": f.batches[0].deliveries[0].installed}),
    ),
    "the value of the other phase": lambda f: f.says(
        "orders",
        ONE,
        f.confirmation(ONE).model_copy(update={"installed": f.value(2, "switched", ONE).hex()}),
    ),
    "a delivery that never was": lambda f: f.says(
        "orders", ONE, f.confirmation(ONE).model_copy(update={"delivery": "e" * 32})
    ),
    "a receipt of another dependent": lambda f: f.says("billing", ONE, f.confirmation(ONE)),
    "a receipt of another instance": lambda f: f.says("orders", TWO, f.confirmation(ONE)),
    "a receipt about another key": lambda f: f.says("orders", ONE, f.confirmation(ONE), key="orders-archive"),
    "a signature where a value is wanted": lambda f: f.says(
        "orders", ONE, Probe(installed=ProbeSignature(nonce="0" * 32, signature="AA"))
    ),
}


@pytest.mark.parametrize("say", UNPROVED.values(), ids=UNPROVED)
def test_it_does_not_prove_that_an_instance_holds(say: Callable[[Fleet], object]) -> None:
    f = fleet()
    say(f)
    assert not f.proof().installed


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"dependent": "billing"}, id="to another dependent"),
        pytest.param({"instance": TWO}, id="to another instance"),
        pytest.param({"delivery": "e" * 32}, id="with another id"),
    ],
)
def test_a_delivery_does_not_count(changes: dict[str, Any]) -> None:
    f = Fleet(MOVING)
    f.live("orders", ONE)
    f.deliver(**({"dependent": "orders", "instance": ONE} | changes))
    f.says("orders", ONE, f.confirmation(ONE))
    assert not f.proof().installed


@pytest.mark.parametrize("changes", [{"version": 1}, {"key": "orders-archive"}, {"env": "prod"}])
def test_a_batch_about_something_else_does_not_count(changes: dict[str, Any]) -> None:
    f = fleet()
    f.batches = [f.batches[0].model_copy(update=changes)]
    f.says("orders", ONE, f.confirmation(ONE))
    assert not f.proof().installed


def test_one_delivery_of_many_is_found() -> None:
    f = fleet()
    f.deliver("billing", TWO)
    f.deliver("orders", OTHER)
    f.live("billing", TWO)
    f.says("orders", ONE, f.confirmation(ONE))
    f.says("billing", TWO, f.confirmation(TWO))
    assert f.adoption().all_installed


def test_a_version_that_was_never_generated_is_never_installed() -> None:
    w = world(versions=1)
    w.requested(2)
    f = Fleet(w)
    f.deliver("orders", ONE)
    assert not proved(f.says("orders", ONE, f.confirmation(ONE)), w.state(), 2, "installed", f.batches)
    assert not proved(f.receipts[0], w.state(), 3, "installed", f.batches)


# --- live ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "live"),
    [
        pytest.param(NOW - LENGTH, True, id="until now"),
        pytest.param(NOW - LENGTH - MARGIN, True, id="within the margin"),
        pytest.param(NOW - LENGTH - MARGIN - timedelta(microseconds=1), False, id="past the margin"),
        pytest.param(datetime.max.replace(tzinfo=UTC), True, id="until the end of time, without a crash"),
        pytest.param(datetime.min.replace(tzinfo=UTC), False, id="since the beginning of time"),
    ],
)
def test_an_instance_is_live_by_its_lease(since: datetime, live: bool) -> None:  # noqa: FBT001
    f = Fleet(MOVING)
    f.live("orders", ONE, at=since)
    assert is_live(f.leases[0], KEY, NOW) is live
    assert len(f.adoption().dependents["orders"]) == int(live)


@pytest.mark.parametrize(
    ("until", "live"),
    [
        pytest.param(NOW, True, id="until now"),
        pytest.param(NOW - MARGIN, True, id="within the margin"),
        pytest.param(NOW - MARGIN - timedelta(microseconds=1), False, id="past the margin"),
        pytest.param(datetime.max.replace(tzinfo=UTC), True, id="until the end of time, without a crash"),
        pytest.param(datetime.min.replace(tzinfo=UTC), False, id="since the beginning of time"),
    ],
)
@pytest.mark.parametrize("since", [NOW, NOW - LENGTH], ids=["a lease of now", "a lease of before"])
def test_an_instance_is_live_for_a_key_that_it_was_refused_until_the_end_that_stands_there(
    since: datetime,
    until: datetime,
    live: bool,  # noqa: FBT001
) -> None:
    """Whenever the lease that says so was stored, and whatever its other keys have."""
    f = Fleet(MOVING)
    f.live("orders", ONE, at=since)
    f.leases[0] = f.leases[0].model_copy(update={"until": {KEY: until}})
    assert is_live(f.leases[0], KEY, NOW) is live
    assert [proof.lease_until for proof in f.adoption().dependents["orders"]] == [until] * live
    f.leases[0] = f.leases[0].model_copy(update={"until": {"orders-archive": until}})
    assert is_live(f.leases[0], KEY, NOW), "the end of another key is no matter of this one"


def test_an_instance_that_ended_its_lease_is_waited_for_no_second_longer() -> None:
    f = Fleet(MOVING)
    f.live("orders", ONE, at=NOW - LENGTH, ended=True)
    f.live("billing", TWO, ended=True)  # whatever the clocks of those who read it say
    assert not any(is_live(lease, KEY, NOW) for lease in f.leases)
    assert dict(f.adoption().dependents) == {"billing": (), "orders": ()}
    assert (f.adoption().all_installed, f.adoption().all_switched) == (True, True)


def test_a_lease_for_other_keys_does_not_count() -> None:
    f = Fleet(MOVING)
    f.live("orders", ONE, key="orders-archive")
    assert f.adoption().all_installed


def test_a_dependent_without_a_grant_is_not_waited_for() -> None:
    f = Fleet(MOVING)
    f.live("shipping", ONE)
    assert dict(f.adoption().dependents) == {"billing": (), "orders": ()}


# --- switched -----------------------------------------------------------------------------------------------------


def test_an_instance_that_protects_with_the_new_and_stopped_the_old_has_switched() -> None:
    f = fleet(active=True)
    f.says("orders", ONE, f.confirmation(ONE, switched=True), protects=2, stopped=(1,))
    assert f.proof() == InstanceProof(
        ONE, NOW + timedelta(seconds=30), installed=True, switched=True, stopped=True
    )
    assert (f.adoption().all_switched, f.adoption().missing("switched")) == (True, ())


@pytest.mark.parametrize("stopped", [(1,), (0,), (0, 1), (1, 7)])
def test_every_way_to_say_that_the_old_one_is_stopped(stopped: tuple[int, ...]) -> None:
    f = fleet(active=True)
    f.says("orders", ONE, f.confirmation(ONE, switched=True), protects=2, stopped=stopped)
    assert f.adoption().all_switched


@pytest.mark.parametrize(
    ("switched", "protects", "stopped"),
    [
        pytest.param(False, 2, (1,), id="no proof of this phase"),
        pytest.param(True, 1, (1,), id="it still protects with the old one"),
        pytest.param(True, None, (1,), id="it protects with nothing"),
        pytest.param(True, 2, (), id="it does not say that the old one is stopped"),
        pytest.param(True, 2, (2,), id="it stopped the new one"),
    ],
)
def test_an_instance_has_not_switched(
    switched: bool,  # noqa: FBT001
    protects: int | None,
    stopped: tuple[int, ...],
) -> None:
    f = fleet(active=True)
    f.says("orders", ONE, f.confirmation(ONE, switched=switched), protects=protects, stopped=stopped)
    assert (f.adoption().all_installed, f.adoption().all_switched) == (True, False)


def test_the_value_of_the_first_phase_does_not_prove_the_second() -> None:
    f = fleet(active=True)
    lie = f.confirmation(ONE).model_copy(update={"switched": f.value(2, "installed", ONE).hex()})
    f.says("orders", ONE, lie, protects=2, stopped=(1,))
    assert not f.adoption().all_switched


def test_a_lease_proves_no_switch() -> None:
    f = Fleet(ACTIVATED)
    f.live("orders", ONE, leased=(1, 2))
    assert (f.adoption().all_installed, f.adoption().all_switched) == (True, False)


# --- versions that never leave the HSM ----------------------------------------------------------------------------

PRIVATE: Final = {n: ec.generate_private_key(ec.SECP256R1()) for n in (1, 2)}


def signing_world() -> World:
    w = world(release="never")
    for number, private in PRIVATE.items():
        spki = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        commitment = hashlib.sha256(spki).hexdigest()
        w.generated(number, w.requested(number), spki=b64u_encode(spki), commitment=commitment)
        w.activated(number)
    return w


SIGNING = signing_world()


def probe(phase: Phase, instance: str = ONE, version: int = 2, **changes: Any) -> ProbeSignature:
    """What the HSM signs, or would with other words."""
    private = PRIVATE[changes.pop("by", version)]
    context = VersionContext(ENV, KEY, version, Algorithm.EC_P256, Release.NEVER, 1)
    message = probe_message(replace(context, **changes), phase, instance, "0" * 32)
    r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
    return ProbeSignature(
        nonce="0" * 32, signature=b64u_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    )


def probed(installed: ProbeSignature, switched: ProbeSignature | None = None) -> InstanceProof:
    f = Fleet(SIGNING)
    f.live("orders", ONE)
    f.says("orders", ONE, Probe(installed=installed, switched=switched), protects=2, stopped=(1,))
    return f.proof()


def test_the_hsms_signature_proves_that_an_instance_reaches_the_version() -> None:
    assert probed(probe("installed")).installed
    assert not probed(probe("installed")).switched


def test_a_second_signature_proves_the_switch() -> None:
    proof = probed(probe("installed"), probe("switched"))
    assert (proof.installed, proof.switched, proof.stopped) == (True, True, True)


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(probe("switched"), id="of the other phase"),
        pytest.param(probe("installed", TWO), id="for another instance"),
        pytest.param(probe("installed", by=1), id="by another version"),
        pytest.param(probe("installed", key="orders-archive"), id="about another key"),
        pytest.param(probe("installed", env="prod"), id="of another environment"),
        pytest.param(probe("installed", epoch=2), id="of another epoch"),
        pytest.param(probe("installed").model_copy(update={"nonce": "1" * 32}), id="with another nonce"),
        pytest.param(ProbeSignature(nonce="0" * 32, signature=""), id="that is empty"),
        pytest.param(ProbeSignature(nonce="0" * 32, signature="A"), id="that is not base64url of bytes"),
        pytest.param(ProbeSignature(nonce="0" * 32, signature=b64u_encode(bytes(64))), id="of zeros"),
    ],
)
def test_it_is_no_proof_to_have_a_signature(signature: ProbeSignature) -> None:
    assert not probed(signature).installed
