"""Signatures bind the type of the message; keys show their id only. The curve itself: test_vectors.py."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rekey_core.errors import SignatureError
from rekey_core.signing import SigningKey, key_id, pae, verify

TYPE = "application/vnd.rekey.event+json"
KEY = SigningKey.generate()
OTHER = SigningKey.generate()


def test_the_published_example_of_the_pre_authentication_encoding() -> None:
    # DSSE protocol, section "Test Vectors"
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        pytest.param("", b"", b"DSSEv1 0  0 ", id="nothing at all"),
        pytest.param("é", b"\x00 1 2", b"DSSEv1 2 \xc3\xa9 5 \x00 1 2", id="lengths are in bytes"),
        pytest.param("a 1", b"b", b"DSSEv1 3 a 1 1 b", id="spaces inside do not confuse"),
    ],
)
def test_pre_authentication_encoding(kind: str, payload: bytes, expected: bytes) -> None:
    assert pae(kind, payload) == expected


def test_a_signature_verifies() -> None:
    signature = KEY.sign(TYPE, b"payload")
    verify(KEY.public_raw, TYPE, b"payload", signature)
    assert len(signature) == 64


@pytest.mark.parametrize(
    ("public", "kind", "payload", "signature"),
    [
        pytest.param(OTHER.public_raw, TYPE, b"payload", KEY.sign(TYPE, b"payload"), id="another key"),
        pytest.param(KEY.public_raw, TYPE + "x", b"payload", KEY.sign(TYPE, b"payload"), id="another type"),
        pytest.param(KEY.public_raw, TYPE, b"payloae", KEY.sign(TYPE, b"payload"), id="another payload"),
        pytest.param(KEY.public_raw, "", b"payload", KEY.sign(TYPE, b"payload"), id="no type"),
        pytest.param(KEY.public_raw, TYPE, b"payload", b"", id="no signature"),
        pytest.param(KEY.public_raw, TYPE, b"payload", KEY.sign(TYPE, b"payload")[:-1], id="a byte too few"),
        pytest.param(
            KEY.public_raw, TYPE, b"payload", KEY.sign(TYPE, b"payload") + b"\0", id="a byte too many"
        ),
        pytest.param(KEY.public_raw, TYPE, b"payload", bytes(64), id="zeros"),
        pytest.param(
            KEY.public_raw[:-1], TYPE, b"payload", KEY.sign(TYPE, b"payload"), id="a key of 31 bytes"
        ),
        pytest.param(b"", TYPE, b"payload", KEY.sign(TYPE, b"payload"), id="no key"),
    ],
)
def test_a_signature_is_refused_with(public: bytes, kind: str, payload: bytes, signature: bytes) -> None:
    with pytest.raises(SignatureError, match=key_id(public)):
        verify(public, kind, payload, signature)


@pytest.mark.parametrize("size", [0, 7, 2048, 2049, 65_536], ids="{} bytes".format)
def test_that_one_verified_says_nothing_of_any_other(size: int) -> None:
    payload = bytes(size)
    signature = KEY.sign(TYPE, payload)
    for _ in range(2):
        verify(KEY.public_raw, TYPE, payload, signature)
        for other in (
            (OTHER.public_raw, TYPE, payload, signature),
            (KEY.public_raw, TYPE + "x", payload, signature),
            (KEY.public_raw, TYPE, payload + b"\0", signature),
            (KEY.public_raw, TYPE, payload, signature[:-1] + bytes([signature[-1] ^ 1])),
        ):
            with pytest.raises(SignatureError):
                verify(*other)


@pytest.mark.parametrize("bit", range(0, 512, 37))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    signature = bytearray(KEY.sign(TYPE, b"payload"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        verify(KEY.public_raw, TYPE, b"payload", bytes(signature))


def test_a_key_survives_its_file() -> None:
    again = SigningKey.from_pem(KEY.to_pem())
    assert (again.key_id, again.public_raw) == (KEY.key_id, KEY.public_raw)
    assert again.sign(TYPE, b"payload") == KEY.sign(TYPE, b"payload")  # RFC 8032 §5.1.6: deterministic


def test_a_key_is_named_by_half_of_its_hash() -> None:
    assert KEY.key_id == hashlib.sha256(KEY.public_raw).hexdigest()[:32]


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == str(KEY) == f"SigningKey({KEY.key_id})"


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(KEY.to_pem()[:60], id="a file that was cut off"),
        pytest.param(_pem(ec.generate_private_key(ec.SECP256R1())), id="a key of another algorithm"),
        pytest.param(_pem(Ed25519PrivateKey.generate(), b"passphrase"), id="an encrypted key"),
    ],
)
def test_a_file_that_is_not_a_plain_signing_key_is_a_misuse(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        SigningKey.from_pem(pem)
