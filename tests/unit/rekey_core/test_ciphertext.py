"""Tink's format to the byte, and every way in which a ciphertext can be wrong. The cipher itself: test_vectors.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey_core.ciphertext import OVERHEAD_BYTES, aead_of, decrypt, encrypt, parse_key_id, prefix_of
from rekey_core.errors import CiphertextError, RefusedError
from rekey_core.secret import Secret

TINK: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "tink" / "aes256_gcm.json").read_bytes()
)
VERSION = Secret(bytes(range(64)))
AEAD = aead_of(VERSION)
ID = 0x9A3C51F7
GOOD = encrypt(AEAD, ID, b"plaintext", b"aad")


@pytest.mark.parametrize("test", TINK["tests"], ids=lambda test: str(test["comment"]))
def test_a_ciphertext_made_by_tink_opens(test: dict[str, str]) -> None:
    aead = aead_of(Secret(bytes.fromhex(TINK["version_secret"])))
    ciphertext, aad = bytes.fromhex(test["ciphertext"]), bytes.fromhex(test["aad"])
    assert parse_key_id(ciphertext) == TINK["key_id"] == TINK["keyset"]["primaryKeyId"]
    assert decrypt(aead, TINK["key_id"], ciphertext, aad).hex() == test["plaintext"]
    with pytest.raises(CiphertextError):
        decrypt(aead, TINK["key_id"], ciphertext, aad + b"x")


def test_the_vectors_of_tink_are_there() -> None:
    assert len(TINK["tests"]) == 4


def test_the_format_is_tinks() -> None:
    nonce, sealed = GOOD[5:17], GOOD[17:]
    assert GOOD[:5] == b"\x01\x9a\x3c\x51\xf7"
    assert AESGCM(bytes(range(32))).decrypt(nonce, sealed, b"aad") == b"plaintext"
    assert len(GOOD) == len(b"plaintext") + OVERHEAD_BYTES


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1024, 4062, 4063, 1 << 20])
def test_there_and_back(length: int) -> None:
    plaintext = bytes(length)
    ciphertext = encrypt(AEAD, ID, plaintext, b"")
    assert decrypt(AEAD, ID, ciphertext, b"") == plaintext
    assert len(ciphertext) == length + OVERHEAD_BYTES


def test_no_nonce_comes_twice() -> None:
    nonces = {encrypt(AEAD, ID, b"", b"")[5:17] for _ in range(10_000)}
    assert len(nonces) == 10_000


@pytest.mark.parametrize("key_id", [1, 0x01020304, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_key_id_is_read_back(key_id: int) -> None:
    assert parse_key_id(encrypt(AEAD, key_id, b"", b"")) == key_id


def test_key_id_0_is_not_read() -> None:
    with pytest.raises(CiphertextError, match="key id from 1, found 0"):
        parse_key_id(b"\x01" + bytes(4) + GOOD[5:])


@pytest.mark.parametrize("key_id", [0, -1, 2**32])
def test_a_key_id_that_does_not_exist_is_a_misuse(key_id: int) -> None:
    with pytest.raises(ValueError, match=f"found {key_id}"):
        encrypt(AEAD, key_id, b"", b"")
    with pytest.raises(ValueError, match=f"found {key_id}"):
        prefix_of(key_id)


@pytest.mark.parametrize(
    ("ciphertext", "aad", "reason"),
    [
        pytest.param(b"", b"aad", "at least 33 bytes, found 0", id="nothing"),
        pytest.param(GOOD[:32], b"aad", "at least 33 bytes, found 32", id="shorter than its frame"),
        pytest.param(b"\x00" + GOOD[1:], b"aad", "found 0x00", id="another format of Tink's"),
        pytest.param(b"\x02" + GOOD[1:], b"aad", "found 0x02", id="an unknown format"),
        pytest.param(b"\x01" + bytes(4) + GOOD[5:], b"aad", "found 0", id="key id 0"),
        pytest.param(prefix_of(ID + 1) + GOOD[5:], b"aad", f"{ID}, found {ID + 1}", id="another key id"),
        pytest.param(GOOD, b"aae", f"key id {ID} is altered", id="other associated data"),
        pytest.param(GOOD, b"", f"key id {ID} is altered", id="no associated data"),
        pytest.param(
            GOOD, GOOD[:5] + b"aad", f"key id {ID} is altered", id="the prefix in the associated data"
        ),
        pytest.param(GOOD[:-1], b"aad", f"key id {ID} is altered", id="a byte too few"),
        pytest.param(GOOD + b"\0", b"aad", f"key id {ID} is altered", id="a byte too many"),
    ],
)
def test_a_ciphertext_is_refused_with(ciphertext: bytes, aad: bytes, reason: str) -> None:
    with pytest.raises(CiphertextError, match=reason):
        decrypt(AEAD, ID, ciphertext, aad)


def test_a_changed_byte_anywhere_is_refused() -> None:
    for at in range(len(GOOD)):
        changed = GOOD[:at] + bytes([GOOD[at] ^ 0x10]) + GOOD[at + 1 :]
        with pytest.raises(CiphertextError):
            decrypt(AEAD, ID, changed, b"aad")


def test_another_version_does_not_open_it() -> None:
    with pytest.raises(CiphertextError, match="altered"):
        decrypt(aead_of(Secret(bytes(64))), ID, GOOD, b"aad")


def test_only_the_first_32_bytes_of_a_version_are_the_key() -> None:
    assert decrypt(aead_of(Secret(bytes(range(32)) + bytes(32))), ID, GOOD, b"aad") == b"plaintext"


@pytest.mark.parametrize("length", [0, 16, 32, 63, 65])
def test_a_secret_of_another_length_is_a_misuse(length: int) -> None:
    with pytest.raises(ValueError, match=f"expected a secret of 64 bytes, found {length}"):
        aead_of(Secret(bytes(length)))


def test_the_error_is_a_refusal_with_a_next_step() -> None:
    with pytest.raises(RefusedError) as caught:
        decrypt(AEAD, ID, GOOD, b"other")
    assert caught.value.code == "ciphertext"
    assert caught.value.hint
