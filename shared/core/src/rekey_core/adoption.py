"""Who has proved what of a version: pure, from leases, receipts and deliveries that were verified when they were read.

An instance is *live* for a key while it has a lease that names the key and that it did not end itself. It has ``installed``
a version when only a holder could have written its receipt, and its lease says so for as long as it does not sign that it
dropped the version for a stop; it has ``switched`` when it has proved so again for that phase, signed that it protects with
the version, and signed that it does not protect with any older one (DESIGN §5, §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from rekey_core.confirmation import Phase, VersionContext, check, probe_message
from rekey_core.contracts import (
    Confirmation,
    Delivered,
    Delivery,
    Generated,
    Lease,
    Probe,
    ProbeSignature,
    Receipt,
    Waiting,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import Stored
from rekey_core.errors import SchemaError, SignatureError
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.signatures import public_key_of, verify_signature
from rekey_core.waivers import is_waived

LEASE_MARGIN_S: Final = 2  # how much longer than its lease an instance is waited for
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(
    days=2
)  # whatever a lease says, its end is a time

_Given = Mapping[tuple[int, str, str, str], Delivery]  # by version, dependent, instance and delivery id


@dataclass(frozen=True)
class InstanceProof:
    """One live instance and what it has proved of the version."""

    instance: str
    lease_until: datetime
    installed: bool
    switched: bool
    stopped: bool  # signed that it does not protect with any other active version
    waived: bool = False  # people said that nobody waits for it

    def has(self, phase: Phase) -> bool:
        """Whether it has proved the phase."""
        return self.installed if phase == "installed" else self.switched and self.stopped


@dataclass(frozen=True)
class Adoption:
    """A version and every dependent of its key, those without a live instance included."""

    version: int
    dependents: Mapping[str, tuple[InstanceProof, ...]]

    @property
    def all_installed(self) -> bool:
        """Every live instance of every dependent, but those waived, holds the version."""
        return all(proof.installed or proof.waived for proofs in self.dependents.values() for proof in proofs)

    @property
    def all_switched(self) -> bool:
        """Every live instance of every dependent, but those waived, protects with the version and with no older one."""
        return all(
            proof.has("switched") or proof.waived for proofs in self.dependents.values() for proof in proofs
        )

    def missing(self, phase: Phase) -> tuple[str, ...]:
        """``dependent/instance`` of those that have not proved the phase and are waited for."""
        return tuple(
            f"{name}/{proof.instance}"
            for name, proofs in sorted(self.dependents.items())
            for proof in proofs
            if not proof.has(phase) and not proof.waived
        )


def adoption(
    state: KeyState,
    version: int,
    leases: Iterable[Stored[Lease]],
    receipts: Iterable[Stored[Receipt]],
    deliveries: Iterable[Delivered],
    now: datetime,
) -> Adoption:
    """Who has proved what of ``version`` at ``now``."""
    of_instance = {(r.model.dependent, r.model.instance): r.model for r in receipts}
    given = _index(state, deliveries)
    found: dict[str, list[InstanceProof]] = {name: [] for name in sorted(state.grants)}
    for stored in leases:
        lease = stored.model
        if lease.dependent in found and is_live(lease, state.key, now):
            receipt = of_instance.get((lease.dependent, lease.instance))
            found[lease.dependent].append(_proof(state, version, lease, receipt, given))
    return Adoption(version, {name: tuple(proofs) for name, proofs in found.items()})


def older_active(state: KeyState) -> list[int]:
    """Versions that are active without being current, ascending."""
    return [n for n in state.versions.in_state(VersionState.ACTIVE) if n != state.current]


def awaited(state: KeyState) -> int | None:
    """The version that instances are waited for: generated and in motion, or current beside older active ones."""
    moving = state.in_motion()
    if moving is not None:
        return moving if state.versions[moving].generated is not None else None
    return state.current if state.current is not None and older_active(state) else None


def waiting(state: KeyState, adopted: Adoption) -> Waiting | None:
    """Whom the rotation of the key waits for; none: for nobody, or ``adopted`` is not of the version in question."""
    version = state.versions.get(adopted.version)
    if version is None or version.generated is None or adopted.version != awaited(state):
        return None
    step: Phase = "installed" if version.activated is None else "switched"
    missing = adopted.missing(step)
    since, deadline = version.state_since, version.requested.model.deadline
    if not missing:
        return None
    return Waiting(version=version.number, step=step, since=since, deadline=deadline, missing=missing)


def is_live(lease: Lease, key: str, now: datetime) -> bool:
    """Whether the instance may still be using the key."""
    if lease.ended or key not in lease.keys:
        return False
    return now - lease_end(lease, key, lease.at) <= timedelta(seconds=LEASE_MARGIN_S)


def lease_end(lease: Lease, key: str, since: datetime) -> datetime:
    """When the lease for a key that it names is over; ``since``: when it was stored, or given."""
    return lease.until.get(key) or min(since, _LATEST) + timedelta(seconds=lease.keys[key].lease_s)


def proved(
    receipt: Receipt, state: KeyState, version: int, phase: Phase, deliveries: Iterable[Delivered]
) -> bool:
    """Whether the receipt holds a proof of the phase that only a holder of the version could give."""
    return _proved(receipt, state, version, phase, _index(state, deliveries))


def _proved(receipt: Receipt, state: KeyState, version: int, phase: Phase, given: _Given) -> bool:
    held = receipt.keys.get(state.key)
    facts = state.versions.get(version)
    if held is None or facts is None or facts.generated is None or version not in held.proofs:
        return False
    proof = held.proofs[version]
    if isinstance(proof, Probe):
        probe = proof.installed if phase == "installed" else proof.switched
        return probe is not None and _probed(probe, facts.generated.model, phase, receipt.instance)
    delivery = given.get((version, receipt.dependent, receipt.instance, proof.delivery))
    return delivery is not None and _confirmed(proof, phase, delivery)


def _proof(
    state: KeyState, version: int, lease: Lease, receipt: Receipt | None, given: _Given
) -> InstanceProof:
    leased = version in lease.keys[state.key].versions
    held = receipt.keys.get(state.key) if receipt else None
    until = lease_end(lease, state.key, lease.at)
    facts = state.versions.get(version)
    waived = facts is not None and is_waived(facts.waived, lease.dependent, lease.instance)
    proof = InstanceProof(
        lease.instance, until, installed=leased, switched=False, stopped=False, waived=waived
    )
    if receipt is None or held is None:
        return proof
    older = {n for n in state.versions.in_state(VersionState.ACTIVE) if n != version}
    return replace(
        proof,
        installed=(leased and version not in held.refused)  # what it held once, until a responder stopped it
        or _proved(receipt, state, version, "installed", given),
        switched=held.protects == version and _proved(receipt, state, version, "switched", given),
        stopped=held.protects not in older and (0 in held.stopped or older <= set(held.stopped)),
    )


def _index(state: KeyState, deliveries: Iterable[Delivered]) -> _Given:
    return {
        (batch.version, given.dependent, given.instance, given.delivery): given
        for batch in deliveries
        if (batch.env, batch.key) == (state.env, state.key)
        for given in batch.deliveries
    }


def _confirmed(proof: Confirmation, phase: Phase, delivery: Delivery) -> bool:
    value = proof.installed if phase == "installed" else proof.switched
    if value is None:
        return False
    try:
        check(bytes.fromhex(value), delivery.installed if phase == "installed" else delivery.switched)
    except SignatureError:
        return False
    return True


def _probed(probe: ProbeSignature, fact: Generated, phase: Phase, instance: str) -> bool:
    context = VersionContext(fact.env, fact.key, fact.version, fact.algorithm, fact.release, fact.epoch)
    message = probe_message(context, phase, instance, probe.nonce)
    try:
        public = public_key_of(fact.algorithm, b64u_decode(fact.spki or ""))
        verify_signature(fact.algorithm, public, message, b64u_decode(probe.signature))
    except (SchemaError, SignatureError):
        return False
    return True
