"""Answers that only the asker opens, and requests that only the distributor does.

HPKE (RFC 9180 §5.1.1) with ML-KEM-768+X25519, HKDF-SHA256 and AES-256-GCM.
Who recorded the traffic must break both encapsulations; ``info`` binds an answer to exactly one request.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from rekey_core.encoding import lp
from rekey_core.errors import SchemaError, SignatureError
from rekey_core.signing import SigningKey

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_BYTES: Final = 1184  # ML-KEM-768 encapsulation key (FIPS 203 §8)
PUBLIC_BYTES: Final = _MLKEM_BYTES + 32  # and an X25519 public key (RFC 7748 §5)


_MLKEM_SEED_BYTES: Final = 64  # d ‖ z (FIPS 203 §7.1)
_X25519_BYTES: Final = 32
_REQUESTS_LABEL: Final = b"rekey-request-sealing@v1"


def request_info(env: str, dependent: str, instance: str, nonce: str, op: str) -> bytes:
    """What the sealed part of a request is bound to: exactly that request."""
    return lp("rekey-request@v1", env, dependent, instance, nonce, op)


def seal_info(env: str, dependent: str, instance: str, nonce: str) -> bytes:
    """What a sealed answer is bound to: exactly one request."""
    return lp("rekey-answer@v1", env, dependent, instance, nonce)


class SealingKey:
    """A key pair: of one request, or of the distributor."""

    __slots__ = ("_mlkem", "_x25519")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem, self._x25519 = mlkem, x25519

    @classmethod
    def generate(cls) -> SealingKey:
        """A fresh pair; it lives as long as its request."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def of_service(cls, key: SigningKey) -> SealingKey:
        """The pair to which requests to this service are sealed: the same in every replica, for all have its key.

        It lives as long as the service's signing key: who steals that can open what was recorded under it.
        """
        seed = key.derive(_REQUESTS_LABEL, _MLKEM_SEED_BYTES + _X25519_BYTES).reveal()
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES])
        return cls(mlkem, X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:]))

    def public_bytes(self) -> bytes:
        """ML-KEM-768 key ‖ X25519 key, 1216 bytes."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext.

        Raises:
            SignatureError: sealed to another key, for another request, or altered.
        """
        private = MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        try:
            return _SUITE.decrypt(sealed, private, info=info)
        except InvalidTag as error:
            raise SignatureError("it is not sealed to this key and request, or is altered") from error

    def __repr__(self) -> str:
        return "SealingKey(…)"


def seal(public_bytes: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to the key of a request.

    Raises:
        SchemaError: the key is not 1216 bytes of two usable public keys.
    """
    if len(public_bytes) != PUBLIC_BYTES:
        raise SchemaError(f"expected a sealing key of {PUBLIC_BYTES} bytes, found {len(public_bytes)}")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public_bytes[:_MLKEM_BYTES])
        x25519 = X25519PublicKey.from_public_bytes(public_bytes[_MLKEM_BYTES:])
        return _SUITE.encrypt(plaintext, MLKEM768X25519PublicKey(mlkem, x25519), info=info)
    except ValueError as error:  # sealing too: a point of small order is found out only by using it
        raise SchemaError("the sealing key is not a pair of ML-KEM-768 and X25519 public keys") from error
