"""Project Wycheproof inside a real token, through the functions that generator, distributor and ceremony use.

Signatures are made with fresh randomness inside, so no file can say which one comes; the token is asked to verify those
of the file, with the mechanisms that it signs with. What SoftHSM cannot run is named by id, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256, sha384
from typing import Any, Final

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11.constants import Attribute as Attr
from pkcs11.constants import MechanismFlag, ObjectClass
from pkcs11.mechanisms import KDF, KeyType

from rekey_hsm import keys
from rekey_hsm.profile import SOFTHSM_2_6 as PROFILE
from rekey_hsm.templates import P256_PARAMS, P384_PARAMS
from tests.hsm_tokens import MODULE, Tokens
from tests.wycheproof import Json, VectorFile, hexed, judge, load

_REFUSALS: Final = (pkcs11.PKCS11Error, ValueError)
_NO_DEFAULTS: Final = MechanismFlag(0)
P256_HALF: Final = 32  # bytes of a coordinate


class Bench:
    """A session with the rights of a service, and keys of the files in it."""

    def __init__(self, session: pkcs11.Session) -> None:
        self.session = session

    @contextmanager
    def key(self, key_type: KeyType, value: bytes, *uses: Attr) -> Iterator[Any]:
        """A secret key of a file, for the time of one test."""
        with self._object(
            {Attr.CLASS: ObjectClass.SECRET_KEY, Attr.KEY_TYPE: key_type, Attr.VALUE: value}, *uses
        ) as key:
            yield key

    @contextmanager
    def public(self, der: bytes) -> Iterator[Any]:
        """A public key of a file."""
        with self._object(public_template(der), Attr.VERIFY) as key:
            yield key

    @contextmanager
    def private_p256(self, scalar: bytes) -> Iterator[Any]:
        """A private key that agrees on secrets, as the ceremony makes them."""
        template = {Attr.CLASS: ObjectClass.PRIVATE_KEY, Attr.KEY_TYPE: KeyType.EC}
        value = {Attr.EC_PARAMS: P256_PARAMS, Attr.VALUE: scalar}
        with self._object({**template, **value}, Attr.DERIVE) as key:
            yield key

    @contextmanager
    def _object(self, template: Mapping[Attr, object], *uses: Attr) -> Iterator[Any]:
        rights = dict.fromkeys(uses, True)
        open_value = {Attr.TOKEN: False, Attr.PRIVATE: True, Attr.SENSITIVE: False, Attr.EXTRACTABLE: True}
        if template[Attr.CLASS] is ObjectClass.PUBLIC_KEY:
            open_value = {Attr.TOKEN: False, Attr.PRIVATE: True}
        made = self.session.create_object({**template, **open_value, **rights})
        with keys.destroyed_after(made):
            yield made


def public_template(der: bytes) -> dict[Attr, object]:
    key = load_der_public_key(der)
    template: dict[Attr, object] = {Attr.CLASS: ObjectClass.PUBLIC_KEY}
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        modulus = numbers.n.to_bytes(key.key_size // 8, "big")
        exponent = numbers.e.to_bytes(3, "big")
        return {**template, Attr.KEY_TYPE: KeyType.RSA, Attr.MODULUS: modulus, Attr.PUBLIC_EXPONENT: exponent}
    assert isinstance(key, EllipticCurvePublicKey)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    wrapped = bytes([0x04, len(point)]) + point  # DER OCTET STRING (PKCS#11 v2.40 §2.3.3)
    parameters = {256: P256_PARAMS, 384: P384_PARAMS}[key.key_size]
    return {**template, Attr.KEY_TYPE: KeyType.EC, Attr.EC_PARAMS: parameters, Attr.EC_POINT: wrapped}


def aes_gcm(bench: Bench) -> Callable[[Json, Json], bool]:
    def check(_group: Json, test: Json) -> bool:
        nonce, aad, message = hexed(test, "iv"), hexed(test, "aad"), hexed(test, "msg")
        sealed = hexed(test, "ct") + hexed(test, "tag")
        with bench.key(KeyType.AES, hexed(test, "key"), Attr.ENCRYPT, Attr.DECRYPT) as key:
            if keys.decrypt(key, nonce, sealed, aad, PROFILE) != message:
                return False
            return keys.encrypt(key, nonce, message, aad, PROFILE) == sealed

    return check


def hmac_sha256(bench: Bench) -> Callable[[Json, Json], bool]:
    def check(group: Json, test: Json) -> bool:
        message, tag = hexed(test, "msg"), hexed(test, "tag")
        with bench.key(KeyType.GENERIC_SECRET, hexed(test, "key"), Attr.SIGN, Attr.VERIFY) as key:
            ours = keys.mac(key, message, PROFILE)
            if group["tagSize"] == 256 and keys.verify_mac(key, message, tag, PROFILE) is not (ours == tag):
                return False
        return ours[: group["tagSize"] // 8] == tag

    return check


def aes_cmac(bench: Bench) -> Callable[[Json, Json], bool]:
    def check(group: Json, test: Json) -> bool:
        with bench.key(KeyType.AES, hexed(test, "key"), Attr.SIGN) as key:
            tag = keys.cmac(key, hexed(test, "msg"), PROFILE)
        return tag[: group["tagSize"] // 8] == hexed(test, "tag")

    return check


def aes_kwp(bench: Bench) -> Callable[[Json, Json], bool]:
    """Open what the file wrapped and look inside; wrap what the file says and compare."""

    def check(_group: Json, test: Json) -> bool:
        message, wrapped = hexed(test, "msg"), hexed(test, "ct")
        with bench.key(KeyType.AES, hexed(test, "key"), Attr.WRAP, Attr.UNWRAP) as kek:
            opened = kek.unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.GENERIC_SECRET,
                wrapped,
                mechanism=PROFILE.key_wrap,
                capabilities=_NO_DEFAULTS,
                template={Attr.TOKEN: False, Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            )
            with keys.destroyed_after(opened):
                return bytes(opened[Attr.VALUE]) == message and keys.wrap(kek, opened, PROFILE) == wrapped

    return check


def ecdh(bench: Bench) -> Callable[[Json, Json], bool]:
    """As the two tokens of the ceremony agree: an uncompressed point comes in, the x coordinate stays inside."""

    def check(_group: Json, test: Json) -> bool:
        scalar = int(test["private"], 16).to_bytes(P256_HALF, "big")
        with bench.private_p256(scalar) as key:
            shared = key.derive_key(
                KeyType.GENERIC_SECRET,
                P256_HALF * 8,
                mechanism=PROFILE.agreement,
                mechanism_param=(KDF.NULL, None, hexed(test, "public")),
                capabilities=_NO_DEFAULTS,
                template={Attr.TOKEN: False, Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            )
            with keys.destroyed_after(shared):
                return bytes(shared[Attr.VALUE]) == hexed(test, "shared")

    return check


def ecdsa(bench: Bench) -> Callable[[Json, Json], bool]:
    def check(group: Json, test: Json) -> bool:
        digest = {"SHA-256": sha256, "SHA-384": sha384}[group["sha"]](hexed(test, "msg")).digest()
        with bench.public(bytes.fromhex(group["publicKeyDer"])) as key:
            return bool(key.verify(digest, hexed(test, "sig"), mechanism=PROFILE.ecdsa))

    return check


def rsa_pss(bench: Bench) -> Callable[[Json, Json], bool]:
    def check(group: Json, test: Json) -> bool:
        with bench.public(bytes.fromhex(group["publicKeyDer"])) as key:
            signature = hexed(test, "sig")
            parameters = PROFILE.pss_parameters
            return bool(
                key.verify(hexed(test, "msg"), signature, mechanism=PROFILE.pss, mechanism_param=parameters)
            )

    return check


Runner = Callable[[Bench], Callable[[Json, Json], bool]]


@dataclass(frozen=True)
class InToken:
    """A file, how it is run, which ids are left out and why; ``is_skipped`` says the same from the test itself."""

    runner: Runner
    count: int
    ids: frozenset[int] = frozenset()
    reason: str = ""
    is_skipped: Callable[[Json, Json], bool] = lambda _group, _test: False
    accepts: Callable[[Json], bool] | None = None


def _ids(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(number for first, last in ranges for number in range(first, last + 1))


FILES: Final = {
    "aes_gcm": InToken(
        aes_gcm,
        316,
        _ids((71, 90), (157, 175), (240, 276)),
        "a nonce of more than 12 bytes: python-pkcs11 takes none, ours have 12",
        lambda group, _: group["ivSize"] > 96,
    ),
    "hmac_sha256": InToken(
        hmac_sha256,
        174,
        _ids((163, 168)),
        "a key of less than 32 bytes: SoftHSM takes none for HMAC-SHA256, ours have 32 or 64",
        lambda group, test: group["keySize"] < 256 and test["comment"] == "short key",
    ),
    "aes_cmac": InToken(aes_cmac, 311),
    "aes_kwp": InToken(
        aes_kwp,
        254,
        _ids((11, 17), (19, 25), (86, 92), (94, 100), (159, 160), (171, 177), (179, 185)),
        "not whole blocks of 8 bytes: SoftHSM 2.6 leaves the padding on; ours have 64 bytes, or DER that says its length",
        lambda _, test: test["result"] == "valid" and len(hexed(test, "msg")) % 8 > 0,
    ),
    # a compressed point is computed with; the ceremony sends none
    "ecdh_secp256r1_ecpoint": InToken(ecdh, 355, accepts=lambda test: "CompressedPoint" in test["flags"]),
    "ecdsa_secp256r1_sha256_p1363": InToken(ecdsa, 262),
    "ecdsa_secp384r1_sha384_p1363": InToken(ecdsa, 280),
    "rsa_pss_3072_sha256_mgf1_32": InToken(rsa_pss, 108),
}


@pytest.fixture(scope="module")
def bench(tokens: Tokens) -> Iterator[Bench]:
    settings = tokens.distributor
    token = pkcs11.lib(str(MODULE)).get_token(token_label=settings.label)
    with token.open(user_pin=settings.pin.reveal().decode(), rw=True) as session:
        yield Bench(session)


@pytest.mark.parametrize("name", FILES)
def test_every_vector_has_its_expected_result_inside_the_token(bench: Bench, name: str) -> None:
    file = FILES[name]
    skips = dict.fromkeys(file.ids, file.reason)
    judge(name, VectorFile(file.runner(bench), file.count, file.accepts, skips), _REFUSALS)


@pytest.mark.parametrize("name", FILES)
def test_a_vector_is_left_out_for_its_reason_alone(name: str) -> None:
    file = FILES[name]
    found = {t["tcId"] for g in load(name)["testGroups"] for t in g["tests"] if file.is_skipped(g, t)}
    assert found == file.ids
