"""Public keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638)."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json
from rekey_core.errors import SchemaError
from rekey_core.fold import KeyState

Jwk = dict[str, str]


def jwk(spki: bytes) -> Jwk:
    """The JWK of a P-256 public key with ``kid``, ``use`` and ``alg`` (RFC 7518 §6.2).

    Raises:
        SchemaError: not a P-256 key.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except ValueError as error:
        raise SchemaError("expected a DER SubjectPublicKeyInfo") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SchemaError("expected a public key on P-256")
    numbers = key.public_numbers()
    required = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64u_encode(numbers.x.to_bytes(32, "big")),
        "y": b64u_encode(numbers.y.to_bytes(32, "big")),
    }
    return {**required, "kid": thumbprint(required), "use": "sig", "alg": "ES256"}


def thumbprint(required: Jwk) -> str:
    """SHA-256 over the required members in lexical order, base64url (RFC 7638 §3)."""
    return b64u_encode(hashlib.sha256(canonical_json(required)).digest())


def jwk_set(state: KeyState) -> dict[str, list[Jwk]]:
    """The public keys of every version that may be used, the one in pre-activation included, newest first."""
    keys = []
    for number in reversed(state.versions_to_hold()):
        generated = state.versions[number].generated
        if generated is not None and generated.model.spki is not None:
            keys.append(jwk(b64u_decode(generated.model.spki)))
    return {"keys": keys}
