"""What the HSM ceremony does on one token: initialise it, agree with the other token, leave its halves.

The two tokens agree by ephemeral ECDH on P-384 (NIST SP 800-56A Rev 3 §6.1.2.2) and derive each key inside
the HSM from the shared value and a context that names the key and both points. Nothing extractable exists at
any time. The ephemeral keys die with the ceremony: who kept one could derive readable copies of every half.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute, ObjectClass, TokenFlag
from pkcs11.mechanisms import KDF, KeyType
from pkcs11.types import DeriveMixin, Object, Session
from pkcs11.types import Token as SlotToken

from rekey_core.errors import HsmError
from rekey_core.secret import Secret
from rekey_hsm import keys
from rekey_hsm.attributes import TemplateMapper
from rekey_hsm.profile import HsmProfile, Library, load_module
from rekey_hsm.templates import (
    CEREMONY_NOTE,
    CEREMONY_PRIVATE,
    CEREMONY_PUBLIC,
    CEREMONY_SHARED,
    P384_PARAMS,
    Template,
)
from rekey_hsm.token import WRONG_PIN, find_one, find_slot_token, storing

T = TypeVar("T")
TokenObject: TypeAlias = Object

_HALF_BITS: Final = 256
_LABEL_BYTES: Final = 32  # CK_TOKEN_INFO.label is padded with blanks (PKCS#11 v2.40 §3.2)
_AGAIN: Final = "run the ceremony again: it goes on where it stopped"
_BORN_SEALED: Final = {Attribute.ALWAYS_SENSITIVE: True, Attribute.NEVER_EXTRACTABLE: True}


@dataclass(frozen=True)
class Agreement:
    """The ceremony's own key pair in this token and the other token's public point."""

    shared: DeriveMixin
    generator_point: bytes
    distributor_point: bytes

    def context(self, label: str) -> bytes:
        """What the derivation of one key is bound to: its name and both points, each with its length."""
        parts = (b"rekey-half@v1", label.encode(), self.generator_point, self.distributor_point)
        return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


class FoundingToken:
    """One token during the ceremony, logged in as its user with a writable session. One thread only."""

    def __init__(self, token: SlotToken, session: Session, profile: HsmProfile, *, made: bool) -> None:
        self.profile = profile
        self.session = session
        self.made = made
        self.serial = token.serial.decode()
        self._label = token.label
        self._pair: tuple[Object, Object] | None = None

    @classmethod
    def open(cls, module: Path, label: str, user_pin: Secret, so_pin: Secret) -> FoundingToken:
        """Find the token by its label, or initialise an empty slot; then log in.

        Raises:
            HsmError: no empty slot, a wrong PIN, or the module fails.
        """
        library, profile = load_module(str(module))
        try:
            made = find_slot_token(library, label) is None
            if made:
                _initialise(library, module, label, so_pin)
            token = _require(library, label)
            _prove_officer(token, so_pin, user_pin if made else None)
            token = _require(library, label)
            session = token.open(
                rw=True, user_pin=user_pin.reveal().decode(), attribute_mapper=TemplateMapper()
            )
        except WRONG_PIN as error:
            message = f"token {label} refuses a PIN: {type(error).__name__}"
            raise HsmError(message, hint="never try again: tokens lock after a few wrong PINs") from error
        except p11.PKCS11Error as error:
            message = f"token {label}: {type(error).__name__} while opening it for the ceremony"
            raise HsmError(message) from error
        return cls(token, session, profile, made=made)

    def begin(self) -> bytes:
        """Make the ephemeral pair; returns the public point, which the other token needs."""
        curve = self.session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: P384_PARAMS}, local=True
        )
        public, private = curve.generate_keypair(
            capabilities=keys.NO_DEFAULTS,
            public_template=dict(CEREMONY_PUBLIC),
            private_template=dict(CEREMONY_PRIVATE),
        )
        keys.read_back(private, CEREMONY_PRIVATE, "the ceremony's private key")
        self._pair = (public, private)
        return bytes(public[Attribute.EC_POINT])

    def agree(self, *, generator_point: bytes, distributor_point: bytes) -> Agreement:
        """Agree with the other token on the shared value, inside this one.

        Raises:
            HsmError: neither point is this token's, or both are.
        """
        if self._pair is None:
            message = "the ceremony's key pair has not been made"
            raise HsmError(message)
        public, private = self._pair
        mine = bytes(public[Attribute.EC_POINT])
        others = [point for point in (generator_point, distributor_point) if point != mine]
        if len(others) != 1 or not isinstance(private, DeriveMixin):
            message = "the points of the ceremony are not this token's and another's"
            raise HsmError(message)
        shared = private.derive_key(
            KeyType.AES,
            _HALF_BITS,
            capabilities=keys.NO_DEFAULTS,
            mechanism=self.profile.agreement,
            mechanism_param=(KDF.NULL, None, others[0]),
            template=dict(CEREMONY_SHARED),
        )
        if not isinstance(shared, DeriveMixin):
            message = "the ceremony's shared value cannot be derived from"
            raise HsmError(message)
        return Agreement(shared, generator_point, distributor_point)

    def leave_half(self, agreement: Agreement, label: str, template: Template) -> str:
        """Derive this token's half of the key into a token object; returns its check value in hex.

        Raises:
            HsmError: the token made it otherwise than the template says.
        """
        key_type = template[Attribute.KEY_TYPE]
        with storing(self._label, label, _AGAIN):
            half = agreement.shared.derive_key(
                key_type if isinstance(key_type, KeyType) else KeyType.AES,
                _HALF_BITS,
                label=label,
                store=True,
                capabilities=keys.NO_DEFAULTS,
                mechanism=self.profile.derivation,
                mechanism_param=(bytes(16), agreement.context(label)),
                template=dict(template),
            )
            return self.check_value(half, label, template)

    def check_value(self, half: Object, label: str, template: Template) -> str:
        """The check value of a half in hex, once the half has been read back.

        Raises:
            HsmError: the half is not as its template says.
        """
        keys.read_back(half, {**template, **_BORN_SEALED}, label)
        return bytes(half[Attribute.CHECK_VALUE]).hex()

    def half(self, label: str) -> Object | None:
        """This token's half of that label, if it is there."""
        return find_one(self.session, _named(ObjectClass.SECRET_KEY, label), label)

    def note(self, label: str) -> bytes | None:
        """The data object of that label, if it is there."""
        found = find_one(self.session, _named(ObjectClass.DATA, label), label)
        return None if found is None else bytes(found[Attribute.VALUE])

    def notes(self, prefix: str) -> list[str]:
        """What follows the prefix in the labels of the data objects that start so."""
        found = self.session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True})
        labels = [str(note[Attribute.LABEL]) for note in found]
        return sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix))

    def leave_note(self, label: str, value: bytes) -> None:
        """Write a data object."""
        with storing(self._label, label, _AGAIN):
            self.session.create_object({Attribute.LABEL: label, Attribute.VALUE: value, **CEREMONY_NOTE})

    def discard(self, label: str) -> None:
        """Destroy every object of that label: an interrupted ceremony left it, or its epoch is retired."""
        for kind in (ObjectClass.SECRET_KEY, ObjectClass.DATA):
            for found in list(self.session.get_objects(_named(kind, label))):
                found.destroy()

    def end(self, *agreements: Agreement) -> None:
        """Destroy the ephemeral keys."""
        for agreement in agreements:
            agreement.shared.destroy()
        for key in self._pair or ():
            key.destroy()
        self._pair = None


def is_made(module: Path, label: str) -> bool:
    """Whether there is a token of that label; nothing is changed.

    Raises:
        HsmError: the module fails, or more than one token has the label.
    """
    library, _ = load_module(str(module))
    return during_ceremony(lambda: find_slot_token(library, label) is not None)


def during_ceremony(operation: Callable[[], T]) -> T:
    """Run one step; whatever the module says ends the ceremony, which can be run again.

    Raises:
        HsmError: the module refuses or fails.
    """
    try:
        return operation()
    except p11.PKCS11Error as error:
        message = f"the token answers {type(error).__name__}{error.args or ''} in the ceremony"
        raise HsmError(message, hint=_AGAIN) from error


def _named(kind: ObjectClass, label: str) -> dict[Attribute, object]:
    return {Attribute.CLASS: kind, Attribute.LABEL: label}


def _require(library: Library, label: str) -> SlotToken:
    token = find_slot_token(library, label)
    if token is None:
        message = f"no token is labelled {label}"
        raise HsmError(message)
    return token


def _initialise(library: Library, module: Path, label: str, so_pin: Secret) -> None:
    """C_InitToken, which python-pkcs11 does not offer, by the loaded module: no PIN is an argument."""
    empty = [
        slot
        for slot in library.get_slots(token_present=True)
        if not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED
    ]
    if not empty or len(label.encode()) > _LABEL_BYTES:
        message = f"token {label} cannot be made: {len(empty)} empty slots, label of {len(label)} characters"
        raise HsmError(message)
    pin = so_pin.reveal()
    padded = label.encode().ljust(_LABEL_BYTES)
    code = ctypes.CDLL(str(module)).C_InitToken(
        ctypes.c_ulong(empty[0].slot_id), pin, ctypes.c_ulong(len(pin)), padded
    )
    if code:
        message = f"token {label}: expected that it is made, found that C_InitToken answers {code:#x}"
        raise HsmError(message, hint=f"it may be full: make room where it keeps its objects, then {_AGAIN}")


def _prove_officer(token: SlotToken, so_pin: Secret, new_user_pin: Secret | None) -> None:
    """Log the officer in and out; give a new token its user's PIN."""
    session = token.open(rw=True, so_pin=so_pin.reveal().decode())
    try:
        if new_user_pin is not None:
            session.init_pin(new_user_pin.reveal().decode())
    finally:
        session.close()
