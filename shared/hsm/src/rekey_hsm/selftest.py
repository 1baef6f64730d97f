"""The start-up self-test: the token must refuse what our templates forbid. No declared profile is believed.

SoftHSM enforces all of it in software; the same test on another module says whether that module does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Key, Object, Session, UnwrapMixin

from rekey_core.errors import HsmError
from rekey_hsm import keys
from rekey_hsm.kinds import KINDS, Kind, kind_of
from rekey_hsm.probes import Probe
from rekey_hsm.profile import HsmProfile
from rekey_hsm.templates import (
    NOT_OF_A_PRIVATE_KEY,
    SECRET_BYTES,
    WRAPPED_SECRET_BYTES,
    Template,
)

_LOCKED_CODE: Final = "0x1b"  # CKR_ACTION_PROHIBITED, which python-pkcs11 does not name
_OTHER_MAC: Final = (Mechanism.SHA512_HMAC,)
_OTHER_TYPE: Final[Mapping[object, KeyType]] = MappingProxyType(
    {
        KeyType.EC: KeyType.RSA,
        KeyType.RSA: KeyType.EC,
        KeyType.AES: KeyType.GENERIC_SECRET,
        KeyType.GENERIC_SECRET: KeyType.AES,
    }
)
_SECRET: Final = KINDS[0]  # something to wrap


def prove_locks(session: Session) -> None:
    """MODIFIABLE=False and COPYABLE=False must hold, or a WRAP-only key becomes a DECRYPT key.

    Raises:
        HsmError: the token allows what the template forbids.
    """
    secret = keys.new_key(session, _SECRET)
    with keys.destroyed_after(secret):

        def modify() -> None:
            secret[Attribute.DECRYPT] = True

        _must_refuse("changing a locked object", modify, locked=True)
        _must_refuse("copying a locked object", lambda: _copy(secret), locked=True)
        _must_refuse("reading a secret", lambda: secret[Attribute.VALUE], p11.AttributeSensitive)


def prove_half(session: Session, kek: Object, label: str, profile: HsmProfile) -> None:
    """The generator's KEK wraps by RFC 5649.

    Raises:
        HsmError: the wrapped form has another length.
    """
    secret = keys.new_key(session, _SECRET)
    with keys.destroyed_after(secret):
        length = len(keys.wrap(kek, secret, profile))
    if length != WRAPPED_SECRET_BYTES:
        message = f"{label}: {SECRET_BYTES} bytes wrap to {length}, expected {WRAPPED_SECRET_BYTES}"
        raise HsmError(message, hint="the module pads otherwise than RFC 5649: correct its profile")


def prove_wrap(session: Session, kek: Object, label: str, profile: HsmProfile) -> None:
    """The generator's KEK wraps by RFC 5649 and by nothing else.

    Raises:
        HsmError: the wrapped form has another length, or another mechanism is accepted.
    """
    prove_half(session, kek, label, profile)
    secret = keys.new_key(session, _SECRET)
    with keys.destroyed_after(secret):
        _must_refuse(
            f"{label}: wrapping by another mechanism",
            lambda: kek.wrap_key(secret, mechanism=Mechanism.AES_KEY_WRAP),  # type: ignore[attr-defined]  # prove_half() proved it
            p11.MechanismInvalid,
        )


def prove_unwrap(session: Session, kek: Object, label: str, probe: Probe, profile: HsmProfile) -> None:
    """The distributor's KEK opens a blob only as its unwrap template says: each attribute is tried otherwise.

    Args:
        session: a writable one, so that asking for a token object is refused by the template.
        kek: the UNWRAP-only half.
        label: its label.
        probe: something that was wrapped for it.
        profile: the module's mechanisms.

    Raises:
        HsmError: the token opens it as something else.
    """
    kind = kind_of(label)
    if kind is None:
        message = f"{label} is not a kek"
        raise ValueError(message)
    template = kind.unwrap
    for attribute in template:
        changed = _otherwise(template, attribute)
        _must_refuse(
            f"{label}: opening with another {attribute.name}",
            functools.partial(_unwrap, kek, changed, probe, profile),
            p11.TemplateInconsistent,
        )
    if template.get(Attribute.WRAP_WITH_TRUSTED):
        _prove_trusted_only(session, kek, kind, probe, profile)


def _otherwise(template: Template, attribute: Attribute) -> Template:
    """The template with one attribute as an attacker would have it."""
    private = template[Attribute.CLASS] is ObjectClass.PRIVATE_KEY
    if attribute is Attribute.CLASS:  # with a key type that the other class can have
        kind = ObjectClass.SECRET_KEY if private else ObjectClass.PRIVATE_KEY
        return {**template, attribute: kind, Attribute.KEY_TYPE: KeyType.AES if private else KeyType.EC}
    if attribute is Attribute.KEY_TYPE:
        return {**template, attribute: _OTHER_TYPE[template[attribute]]}
    if attribute is Attribute.ALLOWED_MECHANISMS:
        return {**template, attribute: _OTHER_MAC}
    return {**template, attribute: not template[attribute]}


def _prove_trusted_only(session: Session, kek: Object, kind: Kind, probe: Probe, profile: HsmProfile) -> None:
    """An opened secret must not leave under a key that somebody brought (Clulow's trojan wrapping key)."""
    secret = keys.unwrap(kek, probe.blob, kind, profile)
    brought = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.TOKEN: False,
            Attribute.WRAP: True,
            Attribute.VALUE: bytes(32),
        }
    )
    with keys.destroyed_after(secret, brought):
        _must_refuse(
            "wrapping a secret under a key that nobody trusted",
            lambda: keys.wrap(brought, secret, profile),
            p11.KeyNotWrappable,
        )


def _unwrap(kek: Object, template: Template, probe: Probe, profile: HsmProfile) -> Key | None:
    kind, key_type = template[Attribute.CLASS], template[Attribute.KEY_TYPE]
    wanted = {**NOT_OF_A_PRIVATE_KEY, **template} if kind is ObjectClass.PRIVATE_KEY else dict(template)
    if not (isinstance(kek, UnwrapMixin) and isinstance(kind, ObjectClass) and isinstance(key_type, KeyType)):
        message = "the distributor's KEK does not unwrap"
        raise HsmError(message)
    return kek.unwrap_key(
        kind,
        key_type,
        probe.blob,
        mechanism=profile.key_wrap,
        capabilities=MechanismFlag(0),
        template=wanted,
    )


def _copy(secret: Object) -> Object:
    return secret.copy({Attribute.DECRYPT: True})


def _must_refuse(
    what: str,
    attempt: Callable[[], object],
    refusal: type[Exception] = p11.PKCS11Error,
    *,
    locked: bool = False,
) -> None:
    try:
        made = attempt()
    except refusal as error:
        if locked and _LOCKED_CODE not in str(error):
            raise
        return
    if isinstance(made, Object):
        made.destroy()
    message = f"the token allows {what}"
    raise HsmError(message, hint="this token does not hold the rules: do not use it")
