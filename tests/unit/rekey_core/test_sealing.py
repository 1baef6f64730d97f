"""What is sealed opens with one key for one request; the bytes are the ones that the standards prescribe."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from rekey_core.errors import SchemaError, SignatureError
from rekey_core.sealing import PUBLIC_BYTES, SealingKey, seal, seal_info

KEY = SealingKey.generate()
PUBLIC = KEY.public_bytes()
INFO = seal_info("dev", "orders", "ab" * 16, "nonce")
SEALED = seal(PUBLIC, b"answer", INFO)
ENCAPSULATED: Final = 1088 + 32  # ML-KEM-768 ciphertext (FIPS 203 §8) and an X25519 public key

SMALL_ORDER: Final = (  # RFC 7748 §6.1 and §7: points with which a shared secret is zero
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


@pytest.mark.parametrize("length", [0, 1, 32, 70_000])
def test_there_and_back(length: int) -> None:
    sealed = seal(PUBLIC, bytes(length), INFO)
    assert KEY.open(sealed, INFO) == bytes(length)
    assert len(sealed) == ENCAPSULATED + length + 16


def test_the_same_answer_is_never_sealed_to_the_same_bytes() -> None:
    assert len({seal(PUBLIC, b"answer", INFO) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "info",
    [
        pytest.param(b"", id="no request"),
        pytest.param(seal_info("prod", "orders", "ab" * 16, "nonce"), id="another environment"),
        pytest.param(seal_info("dev", "billing", "ab" * 16, "nonce"), id="another dependent"),
        pytest.param(seal_info("dev", "orders", "ba" * 16, "nonce"), id="another instance"),
        pytest.param(seal_info("dev", "orders", "ab" * 16, "nonc"), id="another nonce"),
        pytest.param(seal_info("devo", "rders", "ab" * 16, "nonce"), id="another end of a name"),
    ],
)
def test_an_answer_does_not_open_for(info: bytes) -> None:
    with pytest.raises(SignatureError, match="not sealed to this key and request"):
        KEY.open(SEALED, info)


def test_an_answer_does_not_open_with_another_key() -> None:
    with pytest.raises(SignatureError):
        SealingKey.generate().open(SEALED, INFO)


@pytest.mark.parametrize("length", [0, 1, 1087, 1088, ENCAPSULATED - 1, ENCAPSULATED, len(SEALED) - 1])
def test_an_answer_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(SignatureError):
        KEY.open(SEALED[:length], INFO)


@pytest.mark.parametrize("at", [0, 500, 1087, 1088, 1118, ENCAPSULATED, len(SEALED) - 1])
def test_a_changed_byte_is_refused(at: int) -> None:
    with pytest.raises(SignatureError):
        KEY.open(SEALED[:at] + bytes([SEALED[at] ^ 1]) + SEALED[at + 1 :], INFO)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_point_of_small_order_is_refused_on_both_sides(point: str) -> None:
    raw = bytes.fromhex(point)
    with pytest.raises(SchemaError, match="not a pair"):
        seal(PUBLIC[:1184] + raw, b"answer", INFO)
    with pytest.raises(SignatureError):
        KEY.open(SEALED[:1088] + raw + SEALED[ENCAPSULATED:], INFO)


@pytest.mark.parametrize(
    ("public", "reason"),
    [
        pytest.param(b"", "1216 bytes, found 0", id="nothing"),
        pytest.param(PUBLIC[:-1], "1216 bytes, found 1215", id="a byte too few"),
        pytest.param(PUBLIC + b"\0", "1216 bytes, found 1217", id="a byte too many"),
        pytest.param(PUBLIC[:1184], "1216 bytes, found 1184", id="ML-KEM-768 alone"),
        # FIPS 203 §7.2: coefficients are checked against the modulus
        pytest.param(b"\xff" * 1184 + PUBLIC[1184:], "not a pair", id="coefficients beyond the modulus"),
    ],
)
def test_a_sealing_key_is_refused(public: bytes, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        seal(public, b"answer", INFO)


def test_a_public_key_is_both_in_their_order() -> None:
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    both = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    assert SealingKey(mlkem, x25519).public_bytes() == both
    assert len(both) == PUBLIC_BYTES == 1216


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == str(KEY) == "SealingKey(…)"


def test_the_bytes_are_those_of_the_standards() -> None:
    """Opened by hand: ML-KEM-768 and X25519 combined as MLKEM768-X25519 (draft-ietf-hpke-pq), then RFC 9180 §5.1."""
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    sealed = seal(SealingKey(mlkem, x25519).public_bytes(), b"answer", INFO)
    shared = _combined(mlkem, x25519, sealed[:1088], sealed[1088:ENCAPSULATED])
    key, nonce = _schedule(shared, INFO)
    assert AESGCM(key).decrypt(nonce, sealed[ENCAPSULATED:], b"") == b"answer"


def _combined(mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey, first: bytes, second: bytes) -> bytes:
    shared = mlkem.decapsulate(first) + x25519.exchange(X25519PublicKey.from_public_bytes(second))
    label = bytes.fromhex("5c2e2f2f5e5c")  # the label of X-Wing (draft-connolly-cfrg-xwing-kem §5.3)
    return hashlib.sha3_256(shared + second + x25519.public_key().public_bytes_raw() + label).digest()


def _schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce of the first message, base mode: MLKEM768-X25519, HKDF-SHA256, AES-256-GCM."""
    suite = b"HPKE" + (0x647A).to_bytes(2, "big") + (1).to_bytes(2, "big") + (2).to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")

    def expand(label: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return HKDFExpand(SHA256(), length, labelled).derive(secret)

    return expand(b"key", 32), expand(b"base_nonce", 12)
