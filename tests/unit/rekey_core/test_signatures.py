"""Schemes of keys that sign: the algorithm is the key's, and a key is of exactly one."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json
from rekey_core.errors import SchemaError, SignatureError
from rekey_core.jwk import public_jwk
from rekey_core.names import Algorithm
from rekey_core.signatures import SCHEMES, PublicKey, public_key_of, verify_signature

P256, P384, RSA = Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.RSA_3072
MESSAGE = b"a token"
EC_KEYS = {P256: ec.generate_private_key(ec.SECP256R1()), P384: ec.generate_private_key(ec.SECP384R1())}
RSA_KEY = rsa.generate_private_key(65537, 3072)


def der(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


SPKIS = {
    **{algorithm: der(key.public_key()) for algorithm, key in EC_KEYS.items()},
    RSA: der(RSA_KEY.public_key()),
}


def ecdsa(algorithm: Algorithm, digest: hashes.HashAlgorithm) -> bytes:
    size = {P256: 32, P384: 48}[algorithm]
    r, s = decode_dss_signature(EC_KEYS[algorithm].sign(MESSAGE, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def pss(salt: int, digest: hashes.HashAlgorithm, mask: hashes.HashAlgorithm) -> bytes:
    return RSA_KEY.sign(MESSAGE, padding.PSS(padding.MGF1(mask), salt), digest)


SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
GOOD = {P256: ecdsa(P256, SHA256), P384: ecdsa(P384, SHA384), RSA: pss(32, SHA256, SHA256)}


@pytest.mark.parametrize("algorithm", SCHEMES)
def test_each_scheme_verifies_its_own_signature_and_no_other_message(algorithm: Algorithm) -> None:
    key = public_key_of(algorithm, SPKIS[algorithm])
    verify_signature(algorithm, key, MESSAGE, GOOD[algorithm])
    for message, signature in (
        (MESSAGE + b".", GOOD[algorithm]),
        (MESSAGE, b""),
        (MESSAGE, GOOD[algorithm][:-1]),
    ):
        with pytest.raises(SignatureError):
            verify_signature(algorithm, key, message, signature)


@pytest.mark.parametrize(
    ("algorithm", "signature"),
    [
        pytest.param(P384, ecdsa(P384, SHA256), id="ES384 with SHA-256"),
        pytest.param(P256, ecdsa(P256, SHA384), id="ES256 with SHA-384"),
        pytest.param(RSA, pss(0, SHA256, SHA256), id="PS256 without salt"),
        pytest.param(RSA, pss(64, SHA256, SHA256), id="PS256 with another salt"),
        pytest.param(RSA, pss(32, SHA256, SHA512), id="PS256 with another mask"),
        pytest.param(RSA, pss(32, SHA512, SHA512), id="PS512"),
        pytest.param(RSA, RSA_KEY.sign(MESSAGE, padding.PKCS1v15(), SHA256), id="RS256"),
    ],
)
def test_parameters_are_the_schemes_and_no_others(algorithm: Algorithm, signature: bytes) -> None:
    with pytest.raises(SignatureError):
        verify_signature(algorithm, public_key_of(algorithm, SPKIS[algorithm]), MESSAGE, signature)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_is_of_one_algorithm(algorithm: Algorithm) -> None:
    for of, spki in SPKIS.items():
        if of is algorithm:
            continue
        with pytest.raises(SchemaError, match="expected"):
            public_key_of(algorithm, spki)


@pytest.mark.parametrize(("bits", "exponent"), [(2048, 65537), (3072, 3), (4096, 65537)])
def test_an_rsa_key_of_another_size_or_exponent_is_none_of_ours(bits: int, exponent: int) -> None:
    modulus = (1 << bits) - 1  # a public key need not be anybody's to be refused
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    with pytest.raises(SchemaError, match="another kind"):
        public_key_of(RSA, der(key))


def test_jwks_of_p384_and_rsa_are_those_of_rfc_7518() -> None:
    jwk = public_jwk(P384, SPKIS[P384])
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", "P-384", "ES384", "sig")
    assert [len(b64u_decode(jwk[name])) for name in ("x", "y")] == [48, 48]
    jwk = public_jwk(RSA, SPKIS[RSA])
    assert (jwk["kty"], jwk["e"], jwk["alg"], jwk["use"]) == ("RSA", "AQAB", "PS256", "sig")
    assert int.from_bytes(b64u_decode(jwk["n"]), "big") == RSA_KEY.public_key().public_numbers().n
    required = canonical_json({"e": jwk["e"], "kty": "RSA", "n": jwk["n"]})
    assert jwk["kid"] == b64u_encode(hashlib.sha256(required).digest())
