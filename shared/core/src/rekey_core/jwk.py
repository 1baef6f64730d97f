"""P-256 public keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638), and what they verify (ES256)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rekey_core.encoding import b64u_encode, canonical_json
from rekey_core.errors import SchemaError, SignatureError

COORDINATE_BYTES: Final = 32  # of P-256, and of r and s (RFC 7518 §3.4, §6.2.1.2)

Jwk = dict[str, str]


def p256_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    """The key in a DER SubjectPublicKeyInfo (RFC 5280 §4.1).

    Raises:
        SchemaError: not one, or not a key on P-256.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except ValueError as error:
        raise SchemaError("expected a DER SubjectPublicKeyInfo") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SchemaError("expected a public key on P-256, found another kind")
    return key


def public_jwk(spki: bytes) -> Jwk:
    """The JWK of a P-256 public key with ``kid``, ``use`` and ``alg`` (RFC 7517 §4, RFC 7518 §6.2).

    Raises:
        SchemaError: not a P-256 key.
    """
    numbers = p256_key(spki).public_numbers()
    required = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64u_encode(numbers.x.to_bytes(COORDINATE_BYTES, "big")),
        "y": b64u_encode(numbers.y.to_bytes(COORDINATE_BYTES, "big")),
    }
    return {**required, "kid": thumbprint(required), "use": "sig", "alg": "ES256"}


def thumbprint(required: Jwk) -> str:
    """SHA-256 over the required members in lexical order, base64url (RFC 7638 §3)."""
    return b64u_encode(hashlib.sha256(canonical_json(required)).digest())


def jwk_set(spkis: Iterable[bytes]) -> dict[str, list[Jwk]]:
    """A JWK set (RFC 7517 §5) in the order given; of a key: ``jwk_set(state.public_keys(denied))``.

    Raises:
        SchemaError: one is not a P-256 key.
    """
    return {"keys": [public_jwk(spki) for spki in spkis]}


def verify_es256(spki: bytes, message: bytes, signature: bytes) -> None:
    """Return if r‖s (64 bytes, RFC 7518 §3.4) is an ECDSA P-256 SHA-256 signature over the message.

    Raises:
        SchemaError: the key is not on P-256.
        SignatureError: the signature is not by this key over this message.
    """
    key = p256_key(spki)
    if len(signature) != 2 * COORDINATE_BYTES:
        raise SignatureError(f"expected r‖s in {2 * COORDINATE_BYTES} bytes, found {len(signature)}")
    r, s = (
        int.from_bytes(half, "big") for half in (signature[:COORDINATE_BYTES], signature[COORDINATE_BYTES:])
    )
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureError("the signature is not by this key over this message") from error
