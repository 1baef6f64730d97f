"""Project Wycheproof against every algorithm that core and SDK rely on, called the way that they call it.

What runs inside the HSM is in tests/unit/rekey_hsm/test_vectors.py.
"""

from __future__ import annotations

import hmac
from functools import cache
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from rekey.identity import unwrapped
from rekey_core import mac
from rekey_core.ciphertext import decrypt, prefix_of
from rekey_core.errors import CiphertextError, MacError, RecordError, SignatureError
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_core.signatures import public_key_of, verify_signature
from tests.wycheproof import VECTORS, Check, Json, VectorFile, hexed, judge, load

_REFUSALS: Final = (
    InvalidSignature,
    InvalidTag,
    ValueError,
    CiphertextError,
    MacError,
    RecordError,
    SignatureError,
)


def _aes_gcm(_group: Json, test: Json) -> bool:
    aead, nonce, aad, message = (
        AESGCM(hexed(test, "key")),
        hexed(test, "iv"),
        hexed(test, "aad"),
        hexed(test, "msg"),
    )
    sealed = hexed(test, "ct") + hexed(test, "tag")
    if aead.decrypt(nonce, sealed, aad) != message or aead.encrypt(nonce, message, aad) != sealed:
        return False
    ours = len(nonce) == 12
    return not ours or decrypt(aead, 7, prefix_of(7) + nonce + sealed, aad) == message


def _aes_kwp(_group: Json, test: Json) -> bool:
    """As versions of release transport-key are opened; their keys are AES-256 ones."""
    key, message, wrapped = Secret(hexed(test, "key")), hexed(test, "msg"), hexed(test, "ct")
    same = unwrapped(key, wrapped, where="a test").reveal() == message
    return same and aes_key_wrap_with_padding(key.reveal(), message) == wrapped


def _ed25519(group: Json, test: Json) -> bool:
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
    public.verify(hexed(test, "sig"), hexed(test, "msg"))
    return True


def _hmac_sha256(group: Json, test: Json) -> bool:
    key, message, expected = hexed(test, "key"), hexed(test, "msg"), hexed(test, "tag")
    if group["tagSize"] // 8 == mac.TAG_BYTES:  # ours are never cut off
        mac.verify(Secret(key), 7, mac.tagged(7, expected), message)
        return mac.compute(Secret(key), 7, message) == mac.tagged(7, expected)
    tag = hmac.digest(key, message, "sha256")
    return hmac.compare_digest(tag[: group["tagSize"] // 8], expected)


def _ecdsa(group: Json, test: Json) -> bool:
    public = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    digest = {"SHA-256": SHA256, "SHA-384": SHA384}[group["sha"]]
    public.verify(hexed(test, "sig"), hexed(test, "msg"), ec.ECDSA(digest()))
    return True


def _ours(algorithm: Algorithm) -> Check:
    """As tokens and probes are verified."""

    def check(group: Json, test: Json) -> bool:
        key = public_key_of(algorithm, bytes.fromhex(group["publicKeyDer"]))
        verify_signature(algorithm, key, hexed(test, "msg"), hexed(test, "sig"))
        return True

    return check


@cache  # the check of a key on loading takes longer than all its tests
def _rsa_key(pkcs8: str) -> RSAPrivateKey:
    private = load_der_private_key(bytes.fromhex(pkcs8), password=None)
    assert isinstance(private, RSAPrivateKey)
    return private


def _rsa_oaep(group: Json, test: Json) -> bool:
    private = _rsa_key(group["privateKeyPkcs8"])
    sha1 = SHA1()  # noqa: S303 - the only hash that SoftHSM's OAEP knows; collisions do not matter to OAEP
    oaep = padding.OAEP(padding.MGF1(sha1), sha1, hexed(test, "label") or None)
    return private.decrypt(hexed(test, "ct"), oaep) == hexed(test, "msg")


def _x25519(_group: Json, test: Json) -> bool:
    private = X25519PrivateKey.from_private_bytes(hexed(test, "private"))
    return private.exchange(X25519PublicKey.from_public_bytes(hexed(test, "public"))) == hexed(test, "shared")


def _mlkem_768(_group: Json, test: Json) -> bool:
    private = MLKEM768PrivateKey.from_seed_bytes(hexed(test, "seed"))
    same_public = private.public_key().public_bytes_raw() == hexed(test, "ek")
    return same_public and private.decapsulate(hexed(test, "c")) == hexed(test, "K")


def _mlkem_768_encaps(_group: Json, test: Json) -> bool:
    """Whether the key is taken: encapsulation draws its own randomness here, so only the form is equal."""
    shared, encapsulated = MLKEM768PublicKey.from_public_bytes(hexed(test, "ek")).encapsulate()
    return (len(shared), len(encapsulated)) == (len(hexed(test, "K")), len(hexed(test, "c")))


def _hkdf_sha256(_group: Json, test: Json) -> bool:
    hkdf = HKDF(SHA256(), test["size"], hexed(test, "salt"), hexed(test, "info"))
    return hkdf.derive(hexed(test, "ikm")) == hexed(test, "okm")


def _shares_something(test: Json) -> bool:
    return "ZeroSharedSecret" not in test["flags"]


_NONCE_LENGTH: Final = "a nonce of 1 to 6 or 257 bytes: the library takes 8 to 128, we use 12 only"
_ODD_NONCES: Final = (
    *(268, 272, 276, 277, 278, 279, 280, 281, 282, 283, 284, 287, 288, 289),
    *(290, 291, 292, 293, 294, 299, 300, 301, 302, 303, 304, 305, 306),
)

IN_HSM_ALONE: Final = {"aes_cmac", "ecdh_secp256r1_ecpoint"}

FILES: Final = {
    "aes_gcm": VectorFile(_aes_gcm, 316, skips=dict.fromkeys(_ODD_NONCES, _NONCE_LENGTH)),
    "aes_kwp": VectorFile(_aes_kwp, 254),
    "ecdsa_secp256r1_sha256": VectorFile(_ecdsa, 484),
    "ecdsa_secp256r1_sha256_p1363": VectorFile(_ours(Algorithm.EC_P256), 262),
    "ecdsa_secp384r1_sha384": VectorFile(_ecdsa, 504),
    "ecdsa_secp384r1_sha384_p1363": VectorFile(_ours(Algorithm.EC_P384), 280),
    "ed25519": VectorFile(_ed25519, 151),
    "hkdf_sha256": VectorFile(_hkdf_sha256, 86),
    "hmac_sha256": VectorFile(_hmac_sha256, 174),
    "mlkem_768": VectorFile(_mlkem_768, 193),
    "mlkem_768_encaps": VectorFile(_mlkem_768_encaps, 265),
    "rsa_oaep_2048_sha1_mgf1sha1": VectorFile(_rsa_oaep, 36),
    "rsa_pss_3072_sha256_mgf1_32": VectorFile(_ours(Algorithm.RSA_3072), 108),
    # RFC 7748 §6.1: a shared secret of zeros is refused; twisted and non-canonical points are computed with
    "x25519": VectorFile(_x25519, 518, accepts=_shares_something),
}


@pytest.mark.parametrize("name", FILES)
def test_every_vector_has_its_expected_result(name: str) -> None:
    judge(name, FILES[name], _REFUSALS)


def test_a_skipped_vector_is_skipped_for_its_reason() -> None:
    groups = load("aes_gcm")["testGroups"]
    odd = {
        t["tcId"]
        for g in groups
        for t in g["tests"]
        if g["ivSize"] not in range(64, 1025) and t["result"] == "valid"
    }
    assert odd == set(FILES["aes_gcm"].skips)
    assert [name for name, file in FILES.items() if file.skips] == ["aes_gcm"]


def test_every_copied_file_is_run() -> None:
    """Here or inside the HSM, where each file that is run there alone is named."""
    copied = {file.name.removesuffix("_test.json") for file in VECTORS.glob("*.json")}
    assert copied == set(FILES) | IN_HSM_ALONE
