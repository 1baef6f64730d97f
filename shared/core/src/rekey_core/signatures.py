"""Signature schemes of keys that sign inside the HSM, one row each: what verifies, how tokens name it, what a JWK says.

The algorithm always comes from the signed ``generated`` of the key, never from what is to be verified (RFC 8725 §3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rekey_core.encoding import b64u_encode
from rekey_core.errors import SchemaError, SignatureError
from rekey_core.names import Algorithm

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
RSA_EXPONENT: Final = 65537  # FIPS 186-5 §5.1


@dataclass(frozen=True)
class Ecdsa:
    """ECDSA (FIPS 186-5 §6); a signature is r‖s, each as long as a coordinate (RFC 7518 §3.4)."""

    alg: str
    crv: str
    curve: type[ec.EllipticCurve]
    digest: type[hashes.HashAlgorithm]
    coordinate_bytes: int

    def is_key(self, key: object) -> bool:
        """Whether it is a public key on this curve."""
        return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, self.curve)

    def members(self, key: PublicKey) -> dict[str, str]:
        """The required members of its JWK (RFC 7518 §6.2.1)."""
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError(type(key).__name__)
        numbers = key.public_numbers()
        x, y = (b64u_encode(n.to_bytes(self.coordinate_bytes, "big")) for n in (numbers.x, numbers.y))
        return {"crv": self.crv, "kty": "EC", "x": x, "y": y}

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> None:
        """Raises SignatureError for a signature of another length, InvalidSignature for a wrong one."""
        size = self.coordinate_bytes
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError(type(key).__name__)
        if len(signature) != 2 * size:
            raise SignatureError(f"expected r‖s in {2 * size} bytes, found {len(signature)}")
        r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(self.digest()))


@dataclass(frozen=True)
class RsaPss:
    """RSASSA-PSS (RFC 8017 §8.1), MGF1 with the same hash, salt as long as the hash (RFC 7518 §3.5)."""

    alg: str
    bits: int
    digest: type[hashes.HashAlgorithm]

    def is_key(self, key: object) -> bool:
        """Whether it is an RSA key of exactly this size with the usual exponent."""
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        return (key.key_size, key.public_numbers().e) == (self.bits, RSA_EXPONENT)

    def members(self, key: PublicKey) -> dict[str, str]:
        """The required members of its JWK (RFC 7518 §6.3.1)."""
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError(type(key).__name__)
        numbers = key.public_numbers()
        e, n = (b64u_encode(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (numbers.e, numbers.n))
        return {"e": e, "kty": "RSA", "n": n}

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> None:
        """Raises InvalidSignature for a wrong one."""
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError(type(key).__name__)
        pss = padding.PSS(padding.MGF1(self.digest()), self.digest().digest_size)
        key.verify(signature, message, pss, self.digest())


Scheme = Ecdsa | RsaPss

SCHEMES: Final[Mapping[Algorithm, Scheme]] = MappingProxyType(
    {
        Algorithm.EC_P256: Ecdsa("ES256", "P-256", ec.SECP256R1, hashes.SHA256, 32),
        Algorithm.EC_P384: Ecdsa("ES384", "P-384", ec.SECP384R1, hashes.SHA384, 48),
        Algorithm.RSA_3072: RsaPss("PS256", 3072, hashes.SHA256),
    }
)


def scheme_of(algorithm: Algorithm) -> Scheme:
    """The scheme.

    Raises:
        SchemaError: the algorithm is not one of signatures here.
    """
    scheme = SCHEMES.get(algorithm)
    if scheme is None:
        known = ", ".join(SCHEMES)
        raise SchemaError(f"expected an algorithm of signatures ({known}), found {algorithm}")
    return scheme


def public_key_of(algorithm: Algorithm, spki: bytes) -> PublicKey:
    """The key in a DER SubjectPublicKeyInfo (RFC 5280 §4.1), if it is one of this algorithm.

    Raises:
        SchemaError: not one, or a key of another algorithm, curve or size.
    """
    scheme = scheme_of(algorithm)
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SchemaError("expected a DER SubjectPublicKeyInfo") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not scheme.is_key(key):
        raise SchemaError(f"expected a public key of {algorithm}, found another kind")
    return key


def verify_signature(
    algorithm: Algorithm, key: PublicKey, message: bytes, signature: bytes, *, where: str = "signature"
) -> None:
    """Return if the signature is by this key, by the scheme of its algorithm, over the message.

    Raises:
        SignatureError: it is not.
    """
    try:
        scheme_of(algorithm).verify(key, message, signature)
    except InvalidSignature as error:
        raise SignatureError(f"{where}: not by this key over this message") from error
