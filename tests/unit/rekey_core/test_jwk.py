"""Public keys as the JOSE standards write them, checked against the standards' own examples."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.errors import SchemaError, SignatureError
from rekey_core.jwk import jwk_set, public_jwk, thumbprint
from rekey_core.names import Algorithm
from rekey_core.signatures import public_key_of, verify_signature

# RFC 7515 appendix A.3: the key, the header and the signature; the payload is appendix A.1's
RFC_7515_X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
RFC_7515_Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
RFC_7515_HEADER = "eyJhbGciOiJFUzI1NiJ9"
RFC_7515_PAYLOAD = (
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC_7515_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
SIGNED = f"{RFC_7515_HEADER}.{RFC_7515_PAYLOAD}".encode()

# RFC 7638 §3.1: an RSA key; the thumbprint is over e, kty and n
RFC_7638_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAt"
    "VT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn6"
    "4tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FD"
    "W2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9"
    "1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINH"
    "aQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)


P256 = Algorithm.EC_P256


def verify_es256(data: bytes, message: bytes, signature: bytes) -> None:
    verify_signature(P256, public_key_of(P256, data), message, signature)


def spki(x: str = RFC_7515_X, y: str = RFC_7515_Y) -> bytes:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(b64u_decode(x), "big"), int.from_bytes(b64u_decode(y), "big"), ec.SECP256R1()
    )
    return der(numbers.public_key())


def der(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_the_thumbprint_is_the_one_of_rfc_7638() -> None:
    key = {"n": RFC_7638_N, "kty": "RSA", "e": "AQAB"}
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_public_key_becomes_the_jwk_of_rfc_7515() -> None:
    jwk = public_jwk(P256, spki())
    assert {name: jwk[name] for name in ("kty", "crv", "x", "y")} == {
        "kty": "EC",
        "crv": "P-256",
        "x": RFC_7515_X,
        "y": RFC_7515_Y,
    }
    assert (jwk["use"], jwk["alg"]) == ("sig", "ES256")


def test_the_kid_is_the_hash_of_the_required_members_in_order() -> None:
    text = f'{{"crv":"P-256","kty":"EC","x":"{RFC_7515_X}","y":"{RFC_7515_Y}"}}'
    assert public_jwk(P256, spki())["kid"] == b64u_encode(hashlib.sha256(text.encode()).digest())


def test_a_coordinate_with_leading_zeros_keeps_its_32_bytes() -> None:
    scalars = range(1, 2000)  # about one in 256 points has a short x
    keys = (ec.derive_private_key(n, ec.SECP256R1()).public_key() for n in scalars)
    short = next(key for key in keys if key.public_numbers().x < 1 << 248)
    assert len(b64u_decode(public_jwk(P256, der(short))["x"])) == 32


def test_a_set_has_the_keys_in_the_order_given() -> None:
    other = der(ec.derive_private_key(7, ec.SECP256R1()).public_key())
    kids = [key["kid"] for key in jwk_set(P256, [other, spki()])["keys"]]
    assert kids == [public_jwk(P256, other)["kid"], public_jwk(P256, spki())["kid"]]


def test_the_set_of_no_keys_is_a_set() -> None:
    assert jwk_set(P256, []) == {"keys": []}


NOT_P256 = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\x30\x00", id="not a SubjectPublicKeyInfo"),
    pytest.param(spki()[:-1], id="a truncated key"),
    pytest.param(der(ec.derive_private_key(7, ec.SECP384R1()).public_key()), id="a key on P-384"),
    pytest.param(der(ed25519.Ed25519PrivateKey.generate().public_key()), id="an Ed25519 key"),
    pytest.param(spki()[:-1] + bytes([spki()[-1] ^ 1]), id="a point that is not on the curve"),
]


@pytest.mark.parametrize("data", NOT_P256)
def test_what_is_no_p256_key_has_no_jwk(data: bytes) -> None:
    with pytest.raises(SchemaError, match="expected"):
        public_jwk(P256, data)


@pytest.mark.parametrize("data", NOT_P256)
def test_what_is_no_p256_key_verifies_nothing(data: bytes) -> None:
    with pytest.raises(SchemaError, match="expected"):
        verify_es256(data, SIGNED, b64u_decode(RFC_7515_SIGNATURE))


def test_the_signature_of_rfc_7515_verifies() -> None:
    verify_es256(spki(), SIGNED, b64u_decode(RFC_7515_SIGNATURE))


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


GOOD = b64u_decode(RFC_7515_SIGNATURE)


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        pytest.param(SIGNED + b".", GOOD, id="another message"),
        pytest.param(SIGNED, _flipped(GOOD, 0), id="another r"),
        pytest.param(SIGNED, _flipped(GOOD, 63), id="another s"),
        pytest.param(SIGNED, GOOD[32:] + GOOD[:32], id="r and s exchanged"),
        pytest.param(SIGNED, GOOD[:-1], id="a byte too few"),
        pytest.param(SIGNED, GOOD + b"\0", id="a byte too many"),
        pytest.param(SIGNED, bytes(64), id="zeros"),
        pytest.param(SIGNED, b"", id="nothing"),
    ],
)
def test_another_signature_does_not_verify(message: bytes, signature: bytes) -> None:
    with pytest.raises(SignatureError):
        verify_es256(spki(), message, signature)


def test_a_der_signature_is_not_r_and_s() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    in_der = private.sign(SIGNED, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(SignatureError, match="in 64 bytes"):
        verify_es256(der(private.public_key()), SIGNED, in_der)
    r, s = decode_dss_signature(in_der)
    verify_es256(der(private.public_key()), SIGNED, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
