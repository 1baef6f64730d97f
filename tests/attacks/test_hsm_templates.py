"""Attacks on the HSM's programming interface, by somebody who has a service's PIN and a writable session.

After Clulow (2003), Delaune, Kremer and Steel (2008), and the Tookan table (2010). Each row is one forbidden
call on the keys that the ceremony really leaves; the token must refuse it, not our code: calls that
python-pkcs11 would not even offer are forced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from typing import Any

import pytest
from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute as Attr
from pkcs11.constants import ObjectClass
from pkcs11.mechanisms import KDF, MGF, GCMParams, KeyType, Mechanism

from rekey_core.errors import HsmError
from rekey_hsm import DistributorHsm
from rekey_hsm.labels import transport_label
from rekey_hsm.templates import NOT_OF_A_PRIVATE_KEY, UNWRAP_SECRET
from tests.hsm_attacker import (
    KWP,
    NO_FLAGS,
    RAW,
    REFUSALS,
    Attack,
    Scene,
    Wrapped,
    attacker,
    oaep,
    on_kek,
    refused,
)
from tests.hsm_tokens import (
    AES_KEK,
    EC_KEK,
    HMAC_KEK,
    MAC_KEY,
    RECIPIENT,
    RSA_KEK,
    SECRET_KEK,
    Tokens,
)

NEW_KEKS = {"aes": AES_KEK, "hmac": HMAC_KEK, "rsa": RSA_KEK}
OTHER_TYPES = {AES_KEK: KeyType.GENERIC_SECRET, HMAC_KEK: KeyType.AES, RSA_KEK: KeyType.EC}


def on_never(name: str, kek: str, mechanism: Mechanism) -> list[Any]:
    """Attacks on a key that never leaves: opened as more than its template says, or used for more."""
    bit_flips = ("TOKEN", "WRAP", "UNWRAP", "DERIVE", "MODIFIABLE", "COPYABLE", "EXTRACTABLE")
    private_flips = ("TOKEN", "DECRYPT", "SIGN_RECOVER", *bit_flips[2:])
    flips = private_flips if kek == RSA_KEK else bit_flips

    def opened_with(attribute: str) -> Attack:
        return lambda s: s.open_key(kek, **{attribute: True})

    attacks: dict[str, Attack] = {f"open it with {flag}": opened_with(flag) for flag in flips}
    attacks |= {
        "open it readable (A2)": lambda s: s.open_key(kek, SENSITIVE=False),
        "open it as public object": lambda s: s.open_key(kek, PRIVATE=False),
        "open it for another mechanism": lambda s: s.open_key(kek, ALLOWED_MECHANISMS=(mechanism,)),
        "open it as another type (A5)": lambda s: s.open_key(kek, KEY_TYPE=OTHER_TYPES[kek]),
        "open it with the library's defaults (A2)": lambda s: s.key(kek).unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.AES, s.blobs[kek], mechanism=KWP
        ),
        "read it": lambda s: s.open_key(kek)[Attr.PRIVATE_EXPONENT if kek == RSA_KEK else Attr.VALUE],
        "make it extractable (A4)": lambda s: s.flip(s.open_key(kek), Attr.EXTRACTABLE, to=True),
        "copy it": lambda s: s.open_key(kek).copy({Attr.EXTRACTABLE: True}),
        "wrap it under a brought key (A3)": lambda s: s.bring().wrap_key(s.open_key(kek), mechanism=KWP),
        "wrap it to the trusted key": lambda s: oaep(
            s.key(transport_label(RECIPIENT), ObjectClass.PUBLIC_KEY), s.open_key(kek)
        ),
        "sign by another mechanism": lambda s: s.force(s.open_key(kek), RAW.SignMixin).sign(
            bytes(16), mechanism=mechanism
        ),
    }
    return [pytest.param(attack, id=f"distributor: a {name} key: {what}") for what, attack in attacks.items()]


DISTRIBUTOR: list[Any] = [
    *on_kek("secret", SECRET_KEK, half="distributor"),
    *on_kek("ec", EC_KEK, half="distributor"),
    *(row for name, kek in NEW_KEKS.items() for row in on_kek(name, kek, half="distributor")),
    *on_never("aes", AES_KEK, Mechanism.AES_MAC),
    *on_never("hmac", HMAC_KEK, Mechanism.SHA512_HMAC),
    *on_never("rsa", RSA_KEK, Mechanism.SHA256_RSA_PKCS),
    *(
        pytest.param(attack, id=f"distributor: {what}")
        for what, attack in {
            "encrypt by ECB with an AES key": lambda s: s.open_key(AES_KEK).encrypt(
                bytes(16), mechanism=Mechanism.AES_ECB
            ),
            "decrypt by CBC with an AES key": lambda s: s.open_key(AES_KEK).decrypt(
                bytes(16), mechanism=Mechanism.AES_CBC, mechanism_param=bytes(16)
            ),
            "wrap a key under an AES key (A1)": lambda s: s.force(
                s.open_key(AES_KEK), RAW.WrapMixin
            ).wrap_key(s.bring(EXTRACTABLE=True), mechanism=KWP),
            "verify a CMAC with an AES key": lambda s: s.force(s.open_key(AES_KEK), RAW.VerifyMixin).verify(
                b"", bytes(16), mechanism=Mechanism.AES_CMAC
            ),
            "sign without padding with an RSA key": lambda s: s.open_key(RSA_KEK).sign(
                bytes(384), mechanism=Mechanism.RSA_X_509
            ),
            "decrypt with an RSA key": lambda s: s.force(s.open_key(RSA_KEK), RAW.DecryptMixin).decrypt(
                bytes(384), mechanism=Mechanism.RSA_PKCS_OAEP
            ),
            "unwrap with an RSA key": lambda s: s.force(s.open_key(RSA_KEK), RAW.UnwrapMixin).unwrap_key(
                ObjectClass.SECRET_KEY, KeyType.AES, bytes(384), mechanism=Mechanism.RSA_PKCS_OAEP
            ),
        }.items()
    ),
    *(
        pytest.param(attack, id=f"distributor: {what}")
        for what, attack in {
            "wrap under the unwrap half": lambda s: s.force(s.key(SECRET_KEK), RAW.WrapMixin).wrap_key(
                s.open_secret(), mechanism=KWP
            ),
            "open a secret readable (A2)": lambda s: s.open_secret(SENSITIVE=False),
            "open a secret without WRAP_WITH_TRUSTED (A3)": lambda s: s.open_secret(WRAP_WITH_TRUSTED=False),
            "open a secret onto the token": lambda s: s.open_secret(TOKEN=True),
            "open a secret as public object": lambda s: s.open_secret(PRIVATE=False),
            "open a secret that decrypts (A5)": lambda s: s.open_secret(DECRYPT=True),
            "open a secret that encrypts (A5)": lambda s: s.open_secret(ENCRYPT=True),
            "open a secret that wraps (A5)": lambda s: s.open_secret(WRAP=True),
            "open a secret that unwraps (A5)": lambda s: s.open_secret(UNWRAP=True),
            "open a secret that derives (A6)": lambda s: s.open_secret(DERIVE=True),
            "open a secret that verifies": lambda s: s.open_secret(VERIFY=True),
            "open a secret modifiable": lambda s: s.open_secret(MODIFIABLE=True),
            "open a secret copyable": lambda s: s.open_secret(COPYABLE=True),
            "open a secret for any mechanism": lambda s: s.open_secret(
                ALLOWED_MECHANISMS=(Mechanism.SHA_1_HMAC,)
            ),
            "open a secret as AES key (A5)": lambda s: s.open_secret(KEY_TYPE=KeyType.AES),
            "open a secret with the library's defaults (A2)": lambda s: s.key(SECRET_KEK).unwrap_key(
                ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, s.secret.blob, mechanism=KWP
            ),
            "open a secret by another mechanism": lambda s: s.key(SECRET_KEK).unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.GENERIC_SECRET,
                s.secret.blob,
                mechanism=Mechanism.AES_KEY_WRAP,
                capabilities=NO_FLAGS,
                template=dict(UNWRAP_SECRET),
            ),
            "read an opened secret": lambda s: s.open_secret()[Attr.VALUE],
            "make an opened secret not sensitive (A4)": lambda s: s.flip(
                s.open_secret(), Attr.SENSITIVE, to=False
            ),
            "lift WRAP_WITH_TRUSTED (A4)": lambda s: s.flip(
                s.open_secret(), Attr.WRAP_WITH_TRUSTED, to=False
            ),
            "copy an opened secret (A4)": lambda s: s.open_secret().copy({Attr.WRAP_WITH_TRUSTED: False}),
            "wrap an opened secret under a brought AES key (A3)": lambda s: s.bring().wrap_key(
                s.open_secret(), mechanism=KWP
            ),
            "wrap an opened secret under a brought RSA key (A3)": lambda s: oaep(
                s.bring_rsa(), s.open_secret()
            ),
            "bring an AES key that says it is trusted": lambda s: s.bring(TRUSTED=True),
            "bring an RSA key that says it is trusted": lambda s: s.bring_rsa(TRUSTED=True),
            "trust a brought key later": lambda s: s.flip(s.bring(), Attr.TRUSTED, to=True),
            "copy a brought key as trusted": lambda s: s.bring().copy({Attr.TRUSTED: True}),
            "change the trusted key's modulus": lambda s: s.flip(
                s.key(transport_label(RECIPIENT), ObjectClass.PUBLIC_KEY), Attr.MODULUS, to=bytes(384)
            ),
            "copy the trusted key": lambda s: s.key(transport_label(RECIPIENT), ObjectClass.PUBLIC_KEY).copy(
                {Attr.LABEL: "mine"}
            ),
            "HMAC an opened secret by SHA-1": lambda s: s.open_secret().sign(
                b"", mechanism=Mechanism.SHA_1_HMAC
            ),
            "open a private key extractable (A2)": lambda s: s.open_private(EXTRACTABLE=True),
            "open a private key readable (A2)": lambda s: s.open_private(SENSITIVE=False),
            "open a private key onto the token": lambda s: s.open_private(TOKEN=True),
            "open a private key that derives (A6)": lambda s: s.open_private(DERIVE=True),
            "open a private key that decrypts": lambda s: s.open_private(DECRYPT=True),
            "open a private key that unwraps": lambda s: s.open_private(UNWRAP=True),
            "open a private key modifiable": lambda s: s.open_private(MODIFIABLE=True),
            "open a private key copyable": lambda s: s.open_private(COPYABLE=True),
            "open a private key as a secret (A5)": lambda s: s.key(EC_KEK).unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.GENERIC_SECRET,
                s.pair.blob,
                mechanism=KWP,
                capabilities=NO_FLAGS,
                template={Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            ),
            "read an opened private key": lambda s: s.open_private()[Attr.VALUE],
            "wrap an opened private key under a brought key": lambda s: s.bring().wrap_key(
                s.open_private(), mechanism=KWP
            ),
            "derive from an opened private key (A6)": lambda s: s.force(
                s.open_private(), RAW.DeriveMixin
            ).derive_key(
                KeyType.AES,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, s.pair.spki[-65:]),
            ),
            "forge a record MAC": lambda s: s.force(s.key(MAC_KEY), RAW.SignMixin).sign(
                b"", mechanism=Mechanism.SHA256_HMAC
            ),
            "allow the MAC key to sign": lambda s: s.flip(s.key(MAC_KEY), Attr.SIGN, to=True),
            "open a secret under the other KEK": lambda s: s.key(EC_KEK).unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.GENERIC_SECRET,
                s.secret.blob,
                mechanism=KWP,
                capabilities=NO_FLAGS,
                template=dict(UNWRAP_SECRET),
            ),
        }.items()
    ),
]

GENERATOR: list[Any] = [
    *on_kek("secret", SECRET_KEK, half="generator"),
    *on_kek("ec", EC_KEK, half="generator"),
    *(row for name, kek in NEW_KEKS.items() for row in on_kek(name, kek, half="generator")),
    *(
        pytest.param(
            lambda s, kek=kek: s.force(s.key(kek), RAW.UnwrapMixin).unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.AES,
                s.blobs[kek],
                mechanism=KWP,
                template={Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            ),
            id=f"generator: open an earlier {name} key",
        )
        for name, kek in NEW_KEKS.items()
    ),
    *(
        pytest.param(attack, id=f"generator: {what}")
        for what, attack in {
            "open an earlier secret": lambda s: s.force(s.key(SECRET_KEK), RAW.UnwrapMixin).unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.GENERIC_SECRET,
                s.secret.blob,
                mechanism=KWP,
                template={Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            ),
            "open an earlier private key": lambda s: s.force(s.key(EC_KEK), RAW.UnwrapMixin).unwrap_key(
                ObjectClass.PRIVATE_KEY,
                KeyType.EC,
                s.pair.blob,
                mechanism=KWP,
                capabilities=NO_FLAGS,
                template={**NOT_OF_A_PRIVATE_KEY, Attr.SENSITIVE: False},
            ),
            "wrap by CBC, which nobody authenticates": lambda s: s.key(SECRET_KEK).wrap_key(
                s.bring(), mechanism=Mechanism.AES_CBC, mechanism_param=bytes(16)
            ),
            "wrap by AES-KW": lambda s: s.key(SECRET_KEK).wrap_key(
                s.bring(), mechanism=Mechanism.AES_KEY_WRAP
            ),
            "check a record MAC like the distributor": lambda s: s.force(
                s.key(MAC_KEY), RAW.VerifyMixin
            ).verify(b"", bytes(32), mechanism=Mechanism.SHA256_HMAC),
            "MAC by another hash": lambda s: s.key(MAC_KEY).sign(b"", mechanism=Mechanism.SHA_1_HMAC),
        }.items()
    ),
]


@pytest.mark.parametrize("attack", DISTRIBUTOR)
def test_the_distributors_token_refuses(as_distributor: Scene, attack: Attack) -> None:
    assert refused(as_distributor, attack) in REFUSALS


@pytest.mark.parametrize("attack", GENERATOR)
def test_the_generators_token_refuses(as_generator: Scene, attack: Attack) -> None:
    assert refused(as_generator, attack) in REFUSALS


def test_the_forbidden_calls_fail_for_their_rights_and_not_for_their_form(as_distributor: Scene) -> None:
    """The controls: the same calls with keys that have the right succeed."""
    scene = as_distributor
    mine = scene.bring()
    assert len(scene.force(mine, RAW.DecryptMixin).decrypt(bytes(80), mechanism=Mechanism.AES_ECB)) == 80
    assert len(mine.wrap_key(scene.bring(EXTRACTABLE=True), mechanism=KWP)) == 40
    assert (
        len(oaep(scene.key(transport_label(RECIPIENT), ObjectClass.PUBLIC_KEY), scene.open_secret())) == 384
    )
    assert len(scene.open_secret().sign(b"", mechanism=Mechanism.SHA256_HMAC)) == 32
    assert len(scene.open_private().sign(bytes(32), mechanism=Mechanism.ECDSA)) == 64
    gcm = {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(bytes(12), b"", 128)}
    assert len(scene.open_key(AES_KEK).encrypt(b"", **gcm)) == 16
    assert len(scene.open_key(AES_KEK).sign(b"", mechanism=Mechanism.AES_CMAC)) == 16
    assert len(scene.open_key(HMAC_KEK).sign(b"", mechanism=Mechanism.SHA256_HMAC)) == 32
    pss = (Mechanism.SHA256, MGF.SHA256, 32)
    rsa = scene.open_key(RSA_KEK)
    assert len(rsa.sign(b"", mechanism=Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=pss)) == 384


def test_no_random_blob_opens(as_distributor: Scene) -> None:
    """Key conjuring: with CBC every second try would give a key."""
    opened = 0
    for _ in range(2000):
        with contextlib.suppress(p11.GeneralError):
            guess = {SECRET_KEK: secrets.token_bytes(72)}
            dataclasses.replace(as_distributor, blobs=guess).open_secret()
            opened += 1
    assert opened == 0


async def test_a_brought_key_under_a_dependents_name_is_never_wrapped_to(
    tokens: Tokens, wrapped: Wrapped
) -> None:
    label = transport_label(RECIPIENT)
    with attacker(tokens.distributor, wrapped) as scene:
        scene.bring_rsa(LABEL=label, TOKEN=True)
    hsm = await DistributorHsm.open(tokens.distributor)
    released = await hsm.release_secret(
        SECRET_KEK,
        wrapped.secret.blob,
        recipient=RECIPIENT,
        recipient_spki_sha256=tokens.spki_sha256,
        mac_inputs=(),
    )
    await hsm.close()
    assert len(tokens.open_released(released.wrapped)) == 64
    with attacker(tokens.distributor, wrapped) as scene:
        brought = scene.session.get_objects(
            {Attr.CLASS: ObjectClass.PUBLIC_KEY, Attr.LABEL: label, Attr.TRUSTED: False}
        )
        for key in list(brought):
            key.destroy()


async def test_a_second_key_under_a_keks_name_stops_the_service(tokens: Tokens, wrapped: Wrapped) -> None:
    with attacker(tokens.distributor, wrapped) as scene:
        scene.bring(LABEL=SECRET_KEK, TOKEN=True, PRIVATE=True, ID=b"brought")
    try:
        with pytest.raises(HsmError, match="2 objects are labelled"):
            await DistributorHsm.open(tokens.distributor)
    finally:
        with attacker(tokens.distributor, wrapped) as scene:
            for key in list(
                scene.session.get_objects({Attr.CLASS: ObjectClass.SECRET_KEY, Attr.ID: b"brought"})
            ):
                key.destroy()
    hsm = await DistributorHsm.open(tokens.distributor)
    await hsm.close()
