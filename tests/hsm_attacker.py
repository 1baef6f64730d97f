"""Somebody who has a service's PIN, a writable session and everything that lies on the bus."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pkcs11
import pytest
from pkcs11 import _pkcs11 as _stubbed
from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute as Attr
from pkcs11.constants import MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from rekey_core.names import Algorithm
from rekey_hsm import GeneratorHsm, TokenSettings, WrappedKeyPair, WrappedSecret
from rekey_hsm.attributes import TemplateMapper
from rekey_hsm.keys import new_transport_key
from rekey_hsm.kinds import kind_of
from rekey_hsm.templates import NOT_OF_A_PRIVATE_KEY
from tests.hsm_tokens import AES_KEK, BULK_KEK, EC_KEK, HMAC_KEK, KEKS, MODULE, RSA_KEK, SECRET_KEK

RAW: Any = _stubbed  # its stub names almost nothing
KWP = Mechanism.AES_KEY_WRAP_PAD
NO_FLAGS = MechanismFlag(0)
Key = Any  # forced objects have whatever methods the attack wants


@dataclass(frozen=True)
class Scene:
    """What the attacker has: a session with the service's login, and what lies on the bus."""

    session: pkcs11.Session
    secret: WrappedSecret
    pair: WrappedKeyPair
    blobs: Mapping[str, bytes]  # one for each KEK

    def key(self, label: str, kind: ObjectClass = ObjectClass.SECRET_KEY) -> Key:
        (found,) = self.session.get_objects({Attr.CLASS: kind, Attr.LABEL: label})
        return found

    def force(self, key: Key, *mixins: type) -> Key:
        """The object with methods that its attributes do not allow: the call goes to the token anyway."""
        return type("Forced", (type(key).__mro__[1], *mixins, RAW.Object), {})(key.wrapper)

    def open_key(self, kek: str, **changes: object) -> Key:
        """The key under that KEK, opened as its template says but for the changes."""
        kind = kind_of(kek)
        assert kind is not None
        template = {
            **(NOT_OF_A_PRIVATE_KEY if kind.is_private else {}),
            **kind.unwrap,
            **{Attr[name]: value for name, value in changes.items()},
        }
        return self.key(kek).unwrap_key(
            template[Attr.CLASS],
            template[Attr.KEY_TYPE],
            self.blobs[kek],
            mechanism=KWP,
            capabilities=NO_FLAGS,
            template=template,
        )

    def open_secret(self, **changes: object) -> Key:
        return self.open_key(SECRET_KEK, **changes)

    def open_bulk(self, **changes: object) -> Key:
        return self.open_key(BULK_KEK, **changes)

    def transport_key(self) -> Key:
        """A dependent's AES transport key, as the distributor makes it."""
        return new_transport_key(self.session)

    def open_private(self, **changes: object) -> Key:
        return self.open_key(EC_KEK, **changes)

    def bring(self, **attributes: object) -> Key:
        """An AES key whose value the attacker knows, with every right."""
        rights = {Attr.WRAP: True, Attr.UNWRAP: True, Attr.ENCRYPT: True, Attr.DECRYPT: True}
        return self.session.create_object(
            {
                Attr.CLASS: ObjectClass.SECRET_KEY,
                Attr.KEY_TYPE: KeyType.AES,
                Attr.TOKEN: False,
                Attr.VALUE: bytes(32),
                **rights,
                **{Attr[name]: value for name, value in attributes.items()},
            }
        )

    def bring_rsa(self, **attributes: object) -> Key:
        """An RSA public key whose private half the attacker has."""
        return self.session.create_object(
            {
                Attr.CLASS: ObjectClass.PUBLIC_KEY,
                Attr.KEY_TYPE: KeyType.RSA,
                Attr.TOKEN: False,
                Attr.WRAP: True,
                Attr.LABEL: "mine",
                Attr.MODULUS: b"\xc5" * 383 + b"\x01",
                Attr.PUBLIC_EXPONENT: b"\x01\x00\x01",
                **{Attr[name]: value for name, value in attributes.items()},
            }
        )

    def flip(self, key: Key, attribute: Attr, *, to: object) -> None:
        key[attribute] = to


REFUSALS = {
    "AttributeReadOnly",
    "AttributeSensitive",
    "KeyNotWrappable",
    "KeyUnextractable",
    "MechanismInvalid",
    "TemplateInconsistent",
    "Unmapped error code 0x1b",  # CKR_ACTION_PROHIBITED
    "Unmapped error code 0x68",  # CKR_KEY_FUNCTION_NOT_PERMITTED
}

Attack = Callable[[Scene], object]


def oaep(key: Key, victim: Key) -> bytes:
    return bytes(key.wrap_key(victim, mechanism=Mechanism.RSA_PKCS_OAEP))


@dataclass(frozen=True)
class Wrapped:
    """What lies on the bus: a version of each kind."""

    secret: WrappedSecret
    pair: WrappedKeyPair
    blobs: Mapping[str, bytes]


async def make_all(settings: TokenSettings) -> Wrapped:
    hsm = await GeneratorHsm.open(settings)
    secret = await hsm.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"")
    bulk = await hsm.make_secret(BULK_KEK, Algorithm.AES_256_GCM, b"")
    pair = await hsm.make_key_pair(EC_KEK, Algorithm.EC_P256)
    aes = await hsm.make_secret(AES_KEK, Algorithm.AES_256_GCM, b"")
    hmac = await hsm.make_secret(HMAC_KEK, Algorithm.HMAC_SHA_256, b"")
    rsa = await hsm.make_key_pair(RSA_KEK, Algorithm.RSA_3072)
    await hsm.close()
    made = (secret, bulk, pair, aes, hmac, rsa)
    return Wrapped(secret, pair, dict(zip(KEKS, (one.blob for one in made), strict=True)))


@contextlib.contextmanager
def attacker(settings: TokenSettings, wrapped: Wrapped) -> Iterator[Scene]:
    library = pkcs11.lib(os.fspath(MODULE))
    (token,) = [t for t in (slot.get_token() for slot in library.get_slots()) if t.label == settings.label]
    pin = settings.pin.reveal().decode()
    session = token.open(rw=True, user_pin=pin, attribute_mapper=TemplateMapper())
    try:
        yield Scene(session, wrapped.secret, wrapped.pair, wrapped.blobs)
    finally:
        session.close()


def refused(scene: Scene, attack: Attack) -> str:
    """What the token answers; python-pkcs11 has no name for some refusals, and numbers them."""
    with pytest.raises(p11.PKCS11Error) as caught:
        attack(scene)
    answer = type(caught.value).__name__
    return str(caught.value) if answer == "PKCS11Error" else answer


def on_kek(name: str, label: str, *, half: str) -> list[Any]:
    """Attacks that make a KEK's half do what the other half does, or more."""
    rights = {"generator": Attr.UNWRAP, "distributor": Attr.WRAP}[half]
    decrypt, encrypt = (RAW.DecryptMixin,), (RAW.EncryptMixin,)
    return [
        pytest.param(attack, id=f"{half}: {name} kek: {what}")
        for what, attack in {
            "decrypt a blob by ECB (A1)": lambda s: s.force(s.key(label), *decrypt).decrypt(
                bytes(80), mechanism=Mechanism.AES_ECB
            ),
            "decrypt a blob by CBC (A1)": lambda s: s.force(s.key(label), *decrypt).decrypt(
                bytes(80), mechanism=Mechanism.AES_CBC, mechanism_param=bytes(16)
            ),
            "encrypt a chosen key (A1)": lambda s: s.force(s.key(label), *encrypt).encrypt(
                bytes(80), mechanism=Mechanism.AES_ECB
            ),
            "allow decrypt later (A1b)": lambda s: s.flip(s.key(label), Attr.DECRYPT, to=True),
            "allow the other half's right": lambda s: s.flip(s.key(label), rights, to=True),
            "copy with decrypt (A1b)": lambda s: s.key(label).copy({Attr.DECRYPT: True}),
            "copy with the other half's right": lambda s: s.key(label).copy({rights: True}),
            "unlock": lambda s: s.flip(s.key(label), Attr.MODIFIABLE, to=True),
            "read its value": lambda s: s.key(label)[Attr.VALUE],
            "make it extractable": lambda s: s.flip(s.key(label), Attr.EXTRACTABLE, to=True),
            "make it not sensitive": lambda s: s.flip(s.key(label), Attr.SENSITIVE, to=False),
            "wrap it under a brought key": lambda s: s.bring().wrap_key(s.key(label), mechanism=KWP),
            "derive a readable child (A6)": lambda s: s.force(s.key(label), RAW.DeriveMixin).derive_key(
                KeyType.AES,
                256,
                capabilities=NO_FLAGS,
                mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
                mechanism_param=bytes(32),
                template={Attr.SENSITIVE: False, Attr.EXTRACTABLE: True},
            ),
        }.items()
    ]
