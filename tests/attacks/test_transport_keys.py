"""Attacks on release transport-key by somebody who has the distributor's PIN: what the token refuses, and what it allows.

No AES key can be a trusted one, so a secret of this release may be wrapped under any key: that, and nothing else, is what
the release costs. Rows as in test_hsm_templates.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute as Attr
from pkcs11.constants import ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from rekey_hsm.labels import transport_label
from tests.hsm_attacker import KWP, NO_FLAGS, RAW, REFUSALS, Attack, Key, Scene, oaep, on_kek, refused
from tests.hsm_tokens import AES_KEK, BULK_KEK, KEKS, RECIPIENT

BULK_FLIPS = (
    *("TOKEN", "ENCRYPT", "DECRYPT", "VERIFY", "WRAP", "UNWRAP", "DERIVE"),
    *("MODIFIABLE", "COPYABLE", "WRAP_WITH_TRUSTED"),
)


def on_bulk() -> list[Any]:
    """Attacks on a secret of release transport-key. That it leaves under a brought key is no row: the token allows it."""

    def opened_with(attribute: str) -> Attack:
        return lambda s: s.open_bulk(**{attribute: True})

    attacks: dict[str, Attack] = {f"open it with {flag}": opened_with(flag) for flag in BULK_FLIPS}
    attacks |= {
        "open it readable (A2)": lambda s: s.open_bulk(SENSITIVE=False),
        "open it as public object": lambda s: s.open_bulk(PRIVATE=False),
        "open it for another mechanism": lambda s: s.open_bulk(ALLOWED_MECHANISMS=(Mechanism.SHA_1_HMAC,)),
        "open it as another type (A5)": lambda s: s.open_bulk(KEY_TYPE=KeyType.AES),
        "open it with the library's defaults (A2)": lambda s: s.key(BULK_KEK).unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, s.blobs[BULK_KEK], mechanism=KWP
        ),
        "read it": lambda s: s.open_bulk()[Attr.VALUE],
        "make it not sensitive (A4)": lambda s: s.flip(s.open_bulk(), Attr.SENSITIVE, to=False),
        "copy it": lambda s: s.open_bulk().copy({Attr.SENSITIVE: False}),
        "HMAC it by SHA-1": lambda s: s.open_bulk().sign(b"", mechanism=Mechanism.SHA_1_HMAC),
    }
    return [
        pytest.param(attack, id=f"distributor: a high-volume secret: {what}")
        for what, attack in attacks.items()
    ]


def on_transport_key() -> list[Any]:
    """Attacks on a dependent's AES transport key: what it wrapped must not open here, and it must not leave."""

    def forced(s: Scene, mixin: type) -> Key:
        return s.force(s.transport_key(), mixin)

    attacks: dict[str, Attack] = {
        "decrypt what it wrapped by ECB (A1)": lambda s: forced(s, RAW.DecryptMixin).decrypt(
            bytes(72), mechanism=Mechanism.AES_ECB
        ),
        "encrypt with it": lambda s: forced(s, RAW.EncryptMixin).encrypt(
            bytes(16), mechanism=Mechanism.AES_ECB
        ),
        "unwrap what it wrapped readable": lambda s: forced(s, RAW.UnwrapMixin).unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, bytes(72), mechanism=KWP
        ),
        "derive from it (A6)": lambda s: forced(s, RAW.DeriveMixin).derive_key(
            KeyType.AES,
            256,
            capabilities=NO_FLAGS,
            mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
            mechanism_param=bytes(32),
            template={Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
        ),
        "allow decrypt later (A1b)": lambda s: s.flip(s.transport_key(), Attr.DECRYPT, to=True),
        "allow unwrap later": lambda s: s.flip(s.transport_key(), Attr.UNWRAP, to=True),
        "lift WRAP_WITH_TRUSTED (A4)": lambda s: s.flip(s.transport_key(), Attr.WRAP_WITH_TRUSTED, to=False),
        "make it not sensitive (A4)": lambda s: s.flip(s.transport_key(), Attr.SENSITIVE, to=False),
        "trust it": lambda s: s.flip(s.transport_key(), Attr.TRUSTED, to=True),
        "copy it with decrypt (A1b)": lambda s: s.transport_key().copy({Attr.DECRYPT: True}),
        "copy it onto the token": lambda s: s.transport_key().copy({Attr.TOKEN: True}),
        "read it": lambda s: s.transport_key()[Attr.VALUE],
        "wrap it under a brought AES key (A3)": lambda s: s.bring().wrap_key(
            s.transport_key(), mechanism=KWP
        ),
        "wrap it under a brought RSA key (A3)": lambda s: oaep(s.bring_rsa(), s.transport_key()),
        "wrap it under another one": lambda s: s.transport_key().wrap_key(s.transport_key(), mechanism=KWP),
        "wrap by CBC, which nobody authenticates": lambda s: s.transport_key().wrap_key(
            s.open_bulk(), mechanism=Mechanism.AES_CBC, mechanism_param=bytes(16)
        ),
        "wrap a trusted recipient's secret under it": lambda s: s.transport_key().wrap_key(
            s.open_secret(), mechanism=KWP
        ),
        "wrap a private key under it": lambda s: s.transport_key().wrap_key(s.open_private(), mechanism=KWP),
        "wrap an AES key that never leaves under it": lambda s: s.transport_key().wrap_key(
            s.open_key(AES_KEK), mechanism=KWP
        ),
    }
    return [
        pytest.param(attack, id=f"distributor: an AES transport key: {what}")
        for what, attack in attacks.items()
    ]


DISTRIBUTOR: list[Any] = [
    *on_kek("high-volume", BULK_KEK, half="distributor"),
    *on_bulk(),
    *on_transport_key(),
]


@pytest.mark.parametrize("attack", DISTRIBUTOR)
def test_the_distributors_token_refuses(as_distributor: Scene, attack: Attack) -> None:
    assert refused(as_distributor, attack) in REFUSALS


@pytest.mark.parametrize("attack", on_kek("high-volume", BULK_KEK, half="generator"))
def test_the_generators_token_refuses(as_generator: Scene, attack: Attack) -> None:
    assert refused(as_generator, attack) in REFUSALS


def test_the_forbidden_calls_fail_for_their_rights_and_not_for_their_form(as_distributor: Scene) -> None:
    """The controls: what the distributor does with them succeeds."""
    scene = as_distributor
    trusted = scene.key(transport_label(RECIPIENT), ObjectClass.PUBLIC_KEY)
    assert len(oaep(trusted, scene.transport_key())) == 384
    assert len(scene.transport_key().wrap_key(scene.open_bulk(), mechanism=KWP)) == 72
    assert len(scene.open_bulk().sign(b"", mechanism=Mechanism.SHA256_HMAC)) == 32


def test_with_the_distributors_pin_secrets_of_release_transport_key_can_be_read_and_no_others(
    as_distributor: Scene,
) -> None:
    """What that release costs, as the threat model says: no AES key can be trusted, so any may wrap (A3)."""
    scene = as_distributor
    wrapped = scene.bring().wrap_key(scene.open_bulk(), mechanism=KWP)
    assert len(aes_key_unwrap_with_padding(bytes(32), wrapped)) == 64
    for kek in KEKS:
        if kek != BULK_KEK:
            answer = refused(scene, lambda s, kek=kek: s.bring().wrap_key(s.open_key(kek), mechanism=KWP))  # type: ignore[misc]
            assert answer in {"KeyNotWrappable", "KeyUnextractable"}


@pytest.mark.parametrize("kek", [kek for kek in KEKS if kek != BULK_KEK])
def test_no_blob_of_another_kek_opens_as_a_secret_that_may_leave_untrusted(
    as_distributor: Scene, kek: str
) -> None:
    swapped = dataclasses.replace(as_distributor, blobs={BULK_KEK: as_distributor.blobs[kek]})
    with pytest.raises(p11.GeneralError):
        swapped.open_bulk()
