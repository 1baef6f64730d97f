"""Ed25519 (RFC 8032) over the pre-authentication encoding of DSSE (protocol 1.0).

The type is under the signature, so that bytes signed as one kind of message are never taken for another.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rekey_core.errors import SignatureError
from rekey_core.secret import Secret

_KEPT: Final = (
    4096  # signatures that are known to be right: facts are read, passed on and folded one after the other
)
_KEYS: Final = 1024  # public keys whose id and parsed form are kept: few authors sign everything
_KEPT_BYTES: Final = (
    2048  # of a payload that is kept for that; facts are smaller, so all have some 5 MB at most
)


@lru_cache(maxsize=_KEYS)
def key_id(public_raw: bytes) -> str:
    """How a public key is named: the first 16 bytes of its SHA-256 in hex. An instance's id is its key's."""
    return hashlib.sha256(public_raw).hexdigest()[:32]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: ``DSSEv1 SP len SP type SP len SP payload``, lengths in bytes, in decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


class SigningKey:
    """An Ed25519 private key; it shows its id and nothing else."""

    __slots__ = ("_private", "key_id", "public_raw")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_raw = private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_raw)

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """A key from unencrypted PKCS#8 PEM.

        Raises:
            ValueError: anything else.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except TypeError as error:  # what the library raises when a passphrase is needed
            raise ValueError("expected a key without a passphrase, found an encrypted one") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError(f"expected an Ed25519 private key, found {type(private).__name__}")  # noqa: TRY004
        return cls(private)

    def to_pem(self) -> bytes:
        """Unencrypted PKCS#8 PEM, for a file of mode 0600."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """64 bytes over the pre-authentication encoding."""
        return self._private.sign(pae(payload_type, payload))

    def derive(self, label: bytes, length: int) -> Secret:
        """A secret of its own for another purpose (HKDF-SHA256, RFC 5869): who has the key has it too, nobody else."""
        hkdf = HKDF(hashes.SHA256(), length, salt=None, info=label)
        return Secret(hkdf.derive(self._private.private_bytes_raw()))

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def verify(public_raw: bytes, payload_type: str, payload: bytes, signature: bytes) -> None:
    """Return if the key signed this payload as this type.

    Raises:
        SignatureError: it did not, or the key is not one.
    """
    if len(payload) <= _KEPT_BYTES:
        _kept(public_raw, payload_type, payload, signature)
    else:
        _verify(public_raw, payload_type, payload, signature)


_public = lru_cache(maxsize=_KEYS)(Ed25519PublicKey.from_public_bytes)


def _verify(public_raw: bytes, payload_type: str, payload: bytes, signature: bytes) -> None:
    try:
        _public(public_raw).verify(signature, pae(payload_type, payload))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(
            f"the signature by {key_id(public_raw)} over {payload_type} does not verify"
        ) from error


_kept = lru_cache(maxsize=_KEPT)(
    _verify
)  # of what raised nothing; every bit of what was verified is in the key
