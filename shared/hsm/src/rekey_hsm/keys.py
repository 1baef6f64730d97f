"""Objects on a token: each is read back against its template, and used only for what its template says.

Every function runs on the HSM thread and lets the module's own errors through: ``Token.guard`` translates.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType
from pkcs11.types import Key, Object, Session, SignMixin, UnwrapMixin, VerifyMixin, WrapMixin

from rekey_core.errors import HsmError
from rekey_hsm.profile import HsmProfile
from rekey_hsm.templates import (
    NEW_EC_PRIVATE,
    NEW_EC_PUBLIC,
    NEW_SECRET,
    NOT_OF_A_PRIVATE_KEY,
    P256_PARAMS,
    SECRET_BYTES,
    UNWRAP_EC,
    UNWRAP_SECRET,
    Template,
)

NO_DEFAULTS: Final = MechanismFlag(0)  # the library's own are unsafe: our templates say every usage
# AlgorithmIdentifier and BIT STRING header before an uncompressed P-256 point (RFC 5480 §2)
_P256_SPKI_PREFIX: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_P256_POINT_BYTES: Final = 65

Use = TypeVar("Use")


def read_back(key: Object, template: Template, name: str) -> None:
    """Compare the object with its template.

    The unwrap template itself cannot be read from SoftHSM; ``rekey_hsm.selftest`` proves it by trying.

    Raises:
        HsmError: an attribute is not what the template says.
    """
    wanted = {a: value for a, value in template.items() if a is not Attribute.UNWRAP_TEMPLATE}
    found = key.get_attributes(list(wanted))
    wrong = [a.name for a, value in wanted.items() if found.get(a) != value]
    if wrong:
        message = f"{name} is not as its template says: {', '.join(wrong)}"
        raise HsmError(message, hint="the token's objects were changed; do not use it")


@contextlib.contextmanager
def destroyed_after(*keys: Object) -> Iterator[None]:
    """Destroy session objects at the end, whatever happens."""
    try:
        yield
    finally:
        for key in keys:
            key.destroy()


def new_secret(session: Session) -> Object:
    """Make a 64-byte secret as a session object."""
    bits = SECRET_BYTES * 8
    key = session.generate_key(
        KeyType.GENERIC_SECRET, bits, capabilities=NO_DEFAULTS, template=dict(NEW_SECRET)
    )
    _checked(key, NEW_SECRET, "a new secret")
    return key


def new_ec_pair(session: Session) -> tuple[Object, Object]:
    """Make a P-256 key pair as session objects: public, private."""
    curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256_PARAMS}, local=True)
    public, private = curve.generate_keypair(
        capabilities=NO_DEFAULTS,
        public_template=dict(NEW_EC_PUBLIC),
        private_template=dict(NEW_EC_PRIVATE),
    )
    _checked(private, NEW_EC_PRIVATE, "a new private key")
    return public, private


def wrap(kek: Object, key: Object, profile: HsmProfile) -> bytes:
    """Wrap a key under a KEK (RFC 5649)."""
    return _usable(kek, WrapMixin).wrap_key(_usable(key, Key), mechanism=profile.key_wrap)


def wrap_to(recipient: Object, key: Object, profile: HsmProfile) -> bytes:
    """Wrap a key to a recipient's RSA key (RSA-OAEP, RFC 8017 §7.1)."""
    return _usable(recipient, WrapMixin).wrap_key(
        _usable(key, Key),
        mechanism=profile.oaep_mechanism,
        mechanism_param=profile.oaep,  # type: ignore[arg-type]  # the stub forgets that OAEP takes a tuple
    )


def unwrap_secret(kek: Object, blob: bytes, profile: HsmProfile) -> Object:
    """Open a 64-byte secret inside the token, as ``UNWRAP_SECRET`` says."""
    key = _usable(kek, UnwrapMixin).unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        blob,
        mechanism=profile.key_wrap,
        capabilities=NO_DEFAULTS,
        template=dict(UNWRAP_SECRET),
    )
    _checked(key, UNWRAP_SECRET, "an unwrapped secret")
    return key


def unwrap_ec(kek: Object, blob: bytes, profile: HsmProfile) -> Object:
    """Open a P-256 private key inside the token, as ``UNWRAP_EC`` says."""
    key = _usable(kek, UnwrapMixin).unwrap_key(
        ObjectClass.PRIVATE_KEY,
        KeyType.EC,
        blob,
        mechanism=profile.key_wrap,
        capabilities=NO_DEFAULTS,
        template={**NOT_OF_A_PRIVATE_KEY, **UNWRAP_EC},
    )
    _checked(key, {**UNWRAP_EC, Attribute.EC_PARAMS: P256_PARAMS}, "an unwrapped private key")
    return key


def mac(key: Object, data: bytes, profile: HsmProfile) -> bytes:
    """HMAC-SHA256 inside the token."""
    return _usable(key, SignMixin).sign(data, mechanism=profile.mac)


def verify_mac(key: Object, data: bytes, value: bytes, profile: HsmProfile) -> bool:
    """Whether the value is the HMAC-SHA256 of the data, compared inside the token."""
    return _usable(key, VerifyMixin).verify(data, value, mechanism=profile.mac)


def ecdsa(key: Object, message: bytes, profile: HsmProfile) -> bytes:
    """ECDSA over SHA-256 of the message; r || s, 32 bytes each (FIPS 186-5 §6.4; RFC 7518 §3.4)."""
    return _usable(key, SignMixin).sign(hashlib.sha256(message).digest(), mechanism=profile.ecdsa)


def ec_spki(public: Object) -> bytes:
    """DER SubjectPublicKeyInfo of a P-256 public key object."""
    point = bytes(public[Attribute.EC_POINT])[-_P256_POINT_BYTES:]  # behind the OCTET STRING header
    return _P256_SPKI_PREFIX + point


def rsa_spki(public: Object) -> bytes:
    """DER SubjectPublicKeyInfo of an RSA public key object."""
    modulus = int.from_bytes(public[Attribute.MODULUS], "big")
    exponent = int.from_bytes(public[Attribute.PUBLIC_EXPONENT], "big")
    key = RSAPublicNumbers(exponent, modulus).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _checked(key: Object, template: Template, name: str) -> None:
    """Read a session object back; one that is not as its template says does not live on."""
    try:
        read_back(key, template, name)
    except HsmError:
        key.destroy()
        raise


def _usable(key: Object, use: type[Use]) -> Use:
    """The object as what it is used for; python-pkcs11 decides that by the object's own attributes."""
    if not isinstance(key, use):
        message = f"the token's object cannot be used as {use.__name__.removesuffix('Mixin').lower()} key"
        raise HsmError(message)
    return key
