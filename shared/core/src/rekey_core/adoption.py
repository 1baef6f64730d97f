"""Who has proved what of a version: pure, from leases, receipts and deliveries that were verified when they were read.

An instance is *live* for a key while it has a lease that names the key. It has ``installed`` a version when only a holder
could have written its receipt; it has ``switched`` when it has proved so again for that phase, signed that it protects with
the version, and signed that it does not protect with any older one (DESIGN §5, §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

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
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import Stored
from rekey_core.errors import SignatureError
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState

LEASE_MARGIN_S: Final = 2  # how much longer than its lease an instance is waited for


@dataclass(frozen=True)
class InstanceProof:
    """One live instance and what it has proved of the version."""

    instance: str
    lease_until: datetime
    installed: bool
    switched: bool
    stopped: bool  # signed that it does not protect with any other active version


@dataclass(frozen=True)
class Adoption:
    """A version and every dependent of its key, those without a live instance included."""

    version: int
    dependents: Mapping[str, tuple[InstanceProof, ...]]

    @property
    def all_installed(self) -> bool:
        """Every live instance of every dependent holds the version."""
        return all(proof.installed for proofs in self.dependents.values() for proof in proofs)

    @property
    def all_switched(self) -> bool:
        """Every live instance of every dependent protects with the version and with no older one."""
        return all(
            proof.switched and proof.stopped for proofs in self.dependents.values() for proof in proofs
        )

    def missing(self, phase: Phase) -> tuple[str, ...]:
        """``dependent/instance`` of those that have not proved the phase."""
        return tuple(
            f"{name}/{proof.instance}"
            for name, proofs in sorted(self.dependents.items())
            for proof in proofs
            if not (proof.installed if phase == "installed" else proof.switched and proof.stopped)
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
    batches = list(deliveries)
    found: dict[str, list[InstanceProof]] = {name: [] for name in sorted(state.grants)}
    for stored in leases:
        lease = stored.model
        if lease.dependent in found and is_live(lease, state.key, now):
            receipt = of_instance.get((lease.dependent, lease.instance))
            found[lease.dependent].append(_proof(state, version, lease, receipt, batches))
    return Adoption(version, {name: tuple(proofs) for name, proofs in found.items()})


def is_live(lease: Lease, key: str, now: datetime) -> bool:
    """Whether the instance may still be using the key."""
    return key in lease.keys and lease.until + timedelta(seconds=LEASE_MARGIN_S) >= now


def proved(
    receipt: Receipt, state: KeyState, version: int, phase: Phase, deliveries: Iterable[Delivered]
) -> bool:
    """Whether the receipt holds a proof of the phase that only a holder of the version could give."""
    held = receipt.keys.get(state.key)
    facts = state.versions.get(version)
    if held is None or facts is None or facts.generated is None or version not in held.proofs:
        return False
    proof = held.proofs[version]
    if isinstance(proof, Probe):
        probe = proof.installed if phase == "installed" else proof.switched
        return probe is not None and _probed(probe, facts.generated.model, phase, receipt.instance)
    return _confirmed(proof, phase, _delivery(proof, receipt, version, deliveries))


def _proof(
    state: KeyState, version: int, lease: Lease, receipt: Receipt | None, deliveries: Iterable[Delivered]
) -> InstanceProof:
    leased = version in lease.keys[state.key].versions
    held = receipt.keys.get(state.key) if receipt else None
    if receipt is None or held is None:
        return InstanceProof(lease.instance, lease.until, installed=leased, switched=False, stopped=False)
    older = {n for n, v in state.versions.items() if v.state is VersionState.ACTIVE and n != version}
    return InstanceProof(
        lease.instance,
        lease.until,
        installed=leased or proved(receipt, state, version, "installed", deliveries),
        switched=held.protects == version and proved(receipt, state, version, "switched", deliveries),
        stopped=held.protects not in older and older <= set(held.stopped),
    )


def _delivery(
    proof: Confirmation, receipt: Receipt, version: int, deliveries: Iterable[Delivered]
) -> Delivery | None:
    for batch in deliveries:
        for delivery in batch.deliveries:
            who = (batch.version, delivery.delivery, delivery.instance, delivery.dependent)
            if who == (version, proof.delivery, receipt.instance, receipt.dependent):
                return delivery
    return None


def _confirmed(proof: Confirmation, phase: Phase, delivery: Delivery | None) -> bool:
    value = proof.installed if phase == "installed" else proof.switched
    if delivery is None or value is None:
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
        verify_es256(b64u_decode(fact.spki or ""), message, b64u_decode(probe.signature))
    except SignatureError:
        return False
    return True


def verify_es256(spki: bytes, message: bytes, signature: bytes) -> None:
    """Return if r‖s (64 bytes, RFC 7518 §3.4) is an ECDSA P-256 SHA-256 signature over the message.

    Raises:
        SignatureError: it is not, or the key is not on P-256.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except ValueError as error:
        raise SignatureError("expected a DER SubjectPublicKeyInfo") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignatureError("expected a public key on P-256")
    if len(signature) != 64:  # noqa: PLR2004 - RFC 7518 §3.4
        raise SignatureError(f"expected 64 bytes r‖s, found {len(signature)}")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("the signature is not by this key over this message") from error
