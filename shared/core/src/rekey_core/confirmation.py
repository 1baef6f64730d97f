"""What commitments, confirmations, probes and record MACs are computed over.

Every input is length-prefixed, starts with its own label and names environment, key, version, algorithm,
release and epoch, so that no value of one kind or version can stand for another (DESIGN §5).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Literal

from rekey_core.encoding import lp
from rekey_core.errors import SignatureError
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret

SECRET_BYTES: Final = 64  # an exportable version: the MAC is under all 64, applications use 0-31 (DESIGN §5)
PROBE_PREFIX: Final = lp("rekey-probe@v1")  # nothing that starts with it is signed on a dependent's request
MAC_PREFIX: Final = lp(
    "rekey-mac@v1"
)  # everything that is MACed inside the HSM for a dependent starts with it

Phase = Literal["installed", "switched"]


@dataclass(frozen=True)
class VersionContext:
    """Which version a MAC is about."""

    env: str
    key: str
    version: int
    algorithm: Algorithm
    release: Release
    epoch: int

    def parts(self) -> tuple[str, str, int, str, str, int]:
        """The context as parts of an input."""
        return (self.env, self.key, self.version, self.algorithm.value, self.release.value, self.epoch)


def commitment_input(context: VersionContext) -> bytes:
    """What the HMAC that commits to a secret is over."""
    return lp("rekey-commitment@v1", *context.parts())


def confirmation_input(context: VersionContext, phase: Phase, instance: str, delivery: str) -> bytes:
    """What the HMAC that proves possession is over: one value per phase, instance and delivery."""
    return lp("rekey-confirm@v1", *context.parts(), phase, instance, delivery)


def probe_message(context: VersionContext, phase: Phase, instance: str, nonce: str) -> bytes:
    """What the HSM signs to prove that an instance reaches a version that never leaves it."""
    return PROBE_PREFIX + lp(*context.parts(), phase, instance, nonce)


def application_mac_input(message: bytes) -> bytes:
    """What the HSM MACs for a dependent under a key that never leaves it.

    Commitment and confirmations of such a key are MACs under the same key. No label of ours is a prefix of another, so
    no message of a dependent is ever the input of one of those: not by a check that could be missing, but by this form.
    """
    return MAC_PREFIX + message


def record_mac_input(
    context: VersionContext, key_id: int, blob_sha256: str, commitment: str, cause: str
) -> bytes:
    """What the record MAC is over: AES-KWP has no associated data, so this binds the blob to its version."""
    return lp("rekey-record@v1", *context.parts(), key_id, blob_sha256, commitment, cause)


def commit(key: Secret, data: bytes) -> bytes:
    """HMAC-SHA256 under all 64 bytes of a version (FIPS 198-1).

    Raises:
        ValueError: not 64 bytes; a shorter key would commit to less than what was made.
    """
    if len(key) != SECRET_BYTES:
        raise ValueError(f"expected a secret of {SECRET_BYTES} bytes, found {len(key)}")
    return hmac.digest(key.reveal(), data, "sha256")


def secret_commitment(context: VersionContext, mac: bytes) -> str:
    """What commits to a secret, from its MAC over ``commitment_input``.

    The MAC itself where the secret leaves the HSM. Where it never does, the SHA-256 of the check value: a CMAC (NIST
    SP 800-38B) under an AES key, an HMAC-SHA256 under an HMAC key.
    """
    return mac.hex() if context.release is not Release.NEVER else hashlib.sha256(mac).hexdigest()


def check(value: bytes, expected_sha256: str) -> None:
    """Return if the value's SHA-256 is the one that was delivered; constant time.

    Raises:
        SignatureError: it is not.
    """
    if not hmac.compare_digest(hashlib.sha256(value).hexdigest(), expected_sha256):
        raise SignatureError("the confirmation value does not hash to the delivered one")


def spki_commitment(spki: bytes) -> str:
    """What commits to a private key: the SHA-256 of its DER SubjectPublicKeyInfo (RFC 5280 §4.1)."""
    return hashlib.sha256(spki).hexdigest()
