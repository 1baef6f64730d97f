"""Public keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from rekey_core.encoding import b64u_encode, canonical_json
from rekey_core.names import Algorithm
from rekey_core.signatures import public_key_of, scheme_of

Jwk = dict[str, str]


def public_jwk(algorithm: Algorithm, spki: bytes) -> Jwk:
    """The JWK of a public key with ``kid``, ``use`` and ``alg`` (RFC 7517 §4, RFC 7518 §6).

    Raises:
        SchemaError: not a key of this algorithm.
    """
    scheme = scheme_of(algorithm)
    required = scheme.members(public_key_of(algorithm, spki))
    return {**required, "kid": thumbprint(required), "use": "sig", "alg": scheme.alg}


def thumbprint(required: Jwk) -> str:
    """SHA-256 over the required members in lexical order, base64url (RFC 7638 §3)."""
    return b64u_encode(hashlib.sha256(canonical_json(required)).digest())


def jwk_set(algorithm: Algorithm, spkis: Iterable[bytes]) -> dict[str, list[Jwk]]:
    """A JWK set (RFC 7517 §5) in the order given; of a key: ``jwk_set(state.algorithm, state.public_keys(denied))``.

    Raises:
        SchemaError: one is not a key of this algorithm.
    """
    return {"keys": [public_jwk(algorithm, spki) for spki in spkis]}
