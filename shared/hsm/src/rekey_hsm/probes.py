"""Proof that two halves are of one key: the generator's half makes it, the distributor's half checks it.

The ceremony leaves each probe as a data object on the distributor's token, since an UNWRAP-only half can
prove itself only on something that was wrapped for it. A probe's key is thrown away and protects nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.types import Object, Session

from rekey_core.errors import HsmError
from rekey_hsm import keys
from rekey_hsm.labels import is_ec_kek, is_secret_kek
from rekey_hsm.profile import HsmProfile

_P256_BYTES: Final = 32


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
    """Use the generator's half of that label."""
    if is_secret_kek(label):
        secret = keys.new_secret(session)
        with keys.destroyed_after(secret):
            return Probe(keys.wrap(half, secret, profile), keys.mac(secret, label.encode(), profile))
    if is_ec_kek(label):
        public, private = keys.new_ec_pair(session)
        with keys.destroyed_after(public, private):
            return Probe(keys.wrap(half, private, profile), keys.ec_spki(public))
    return Probe(b"", keys.mac(half, label.encode(), profile))


def check_probe(half: Object, label: str, probe: Probe, profile: HsmProfile) -> None:
    """Use the distributor's half of that label on the probe.

    Raises:
        HsmError: the two halves are not of one key, or the key does not do what it is for.
    """
    if is_secret_kek(label):
        secret = keys.unwrap_secret(half, probe.blob, profile)
        with keys.destroyed_after(secret):
            proved = keys.mac(secret, label.encode(), profile) == probe.check
    elif is_ec_kek(label):
        private = keys.unwrap_ec(half, probe.blob, profile)
        with keys.destroyed_after(private):
            proved = _verifies(probe.check, label.encode(), keys.ecdsa(private, label.encode(), profile))
    else:
        proved = keys.verify_mac(half, label.encode(), probe.check, profile)
    if not proved:
        message = f"the halves of {label} on the two tokens are not of one key"
        raise HsmError(message, hint="a new epoch is needed: run the HSM ceremony")


def _verifies(spki: bytes, message: bytes, signature: bytes) -> bool:
    public = load_der_public_key(spki)
    if not isinstance(public, EllipticCurvePublicKey):
        return False
    r, s = (int.from_bytes(part, "big") for part in (signature[:_P256_BYTES], signature[_P256_BYTES:]))
    try:
        public.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
