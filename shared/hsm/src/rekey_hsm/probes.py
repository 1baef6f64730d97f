"""Proof that two halves are of one key: the generator's half makes it, the distributor's half checks it.

The ceremony leaves each probe as a data object on the distributor's token, since an UNWRAP-only half can
prove itself only on something that was wrapped for it. A probe's key is thrown away and protects nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.types import Object, Session

from rekey_core.errors import HsmError, SignatureError
from rekey_core.signatures import verify_signature
from rekey_hsm import keys
from rekey_hsm.kinds import Kind, Proof, kind_of
from rekey_hsm.profile import HsmProfile

_PROBE_RSA_BITS: Final = 2048  # protects nothing, and is made several times faster than 3072


@dataclass(frozen=True)
class Probe:
    """A wrapped throw-away key with its check (MAC or SPKI); for a MAC key only the MAC of its label."""

    blob: bytes
    check: bytes

    def to_json(self) -> str:
        """As it crosses between the sides and lies on the token."""
        return json.dumps({"blob": self.blob.hex(), "check": self.check.hex()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Probe:
        """The inverse.

        Raises:
            HsmError: the text is not a probe.
        """
        try:
            found = json.loads(text)
            return cls(bytes.fromhex(found["blob"]), bytes.fromhex(found["check"]))
        except (ValueError, KeyError, TypeError) as error:
            message = "a key's probe is not readable"
            raise HsmError(message) from error


def make_probe(session: Session, half: Object, label: str, profile: HsmProfile) -> Probe:
    """Use the generator's half of that label. An RSA key takes a while."""
    kind = kind_of(label)
    if kind is None:
        return Probe(b"", keys.mac(half, label.encode(), profile))
    if kind.proof is not Proof.SIGNATURE:
        secret = keys.new_key(session, kind)
        with keys.destroyed_after(secret):
            check = keys.prove(secret, kind, label.encode(), profile)
            return Probe(keys.wrap(half, secret, profile), check)
    public, private = keys.new_pair(session, kind.algorithms[0], rsa_bits=_PROBE_RSA_BITS)
    with keys.destroyed_after(public, private):
        return Probe(keys.wrap(half, private, profile), keys.spki_of(public, kind.algorithms[0]))


def check_probe(half: Object, label: str, probe: Probe, profile: HsmProfile) -> None:
    """Use the distributor's half of that label on the probe.

    Raises:
        HsmError: the two halves are not of one key, or the key does not do what it is for.
    """
    kind = kind_of(label)
    if kind is None:
        proved = keys.verify_mac(half, label.encode(), probe.check, profile)
    else:
        key = keys.unwrap(half, probe.blob, kind, profile)
        with keys.destroyed_after(key):
            proved = _proves(key, kind, label.encode(), probe.check, profile)
    if not proved:
        message = f"the halves of {label} on the two tokens are not of one key"
        raise HsmError(message, hint="a new epoch is needed: run the HSM ceremony")


def _proves(key: Object, kind: Kind, message: bytes, check: bytes, profile: HsmProfile) -> bool:
    if kind.proof is not Proof.SIGNATURE:
        return keys.prove(key, kind, message, profile) == check
    algorithm = kind.algorithms[0]
    public = load_der_public_key(check)
    if not isinstance(public, EllipticCurvePublicKey | RSAPublicKey):
        return False
    try:
        verify_signature(algorithm, public, message, keys.sign(key, algorithm, message, profile))
    except SignatureError:
        return False
    return True
