"""Objects on a token: each is read back against its template, and used only for what its template says.

Every function runs on the HSM thread and lets the module's own errors through: ``Token.guard`` translates.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import GCMParams, KeyType
from pkcs11.types import (
    DecryptMixin,
    EncryptMixin,
    Key,
    Object,
    Session,
    SignMixin,
    UnwrapMixin,
    VerifyMixin,
    WrapMixin,
)

from rekey_core.errors import HsmError
from rekey_core.names import Algorithm
from rekey_hsm.kinds import Kind, Proof
from rekey_hsm.profile import HsmProfile
from rekey_hsm.templates import (
    AES_BITS,
    NEW_PRIVATE,
    NEW_PUBLIC,
    NEW_TRANSPORT_KEY,
    NOT_OF_A_PRIVATE_KEY,
    P256_PARAMS,
    P384_PARAMS,
    RSA_EXPONENT,
    SECRET_BYTES,
    Template,
)

NO_DEFAULTS: Final = MechanismFlag(0)  # the library's own are unsafe: our templates say every usage
RSA_BITS: Final = 3072
GCM_TAG_BITS: Final = 128


@dataclass(frozen=True)
class Curve:
    """An elliptic curve as PKCS#11 names it, and the hash that is signed with it (FIPS 186-5 §6.1.1)."""

    parameters: bytes
    curve: type[EllipticCurve]
    digest: Callable[[bytes], hashlib._Hash]
    point_bytes: int  # uncompressed (SEC 1 §2.3.3)


CURVES: Final[Mapping[Algorithm, Curve]] = MappingProxyType(
    {
        Algorithm.EC_P256: Curve(P256_PARAMS, SECP256R1, hashlib.sha256, 65),
        Algorithm.EC_P384: Curve(P384_PARAMS, SECP384R1, hashlib.sha384, 97),
    }
)

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


def new_key(session: Session, kind: Kind) -> Object:
    """Make a secret of the kind as a session object: 64 bytes, or an AES-256 key.

    Raises:
        ValueError: the kind is of private keys.
    """
    key_type = kind.new.get(Attribute.KEY_TYPE)
    if not isinstance(key_type, KeyType):
        message = f"{kind.key_type} keys are made in pairs"
        raise ValueError(message)  # noqa: TRY004 - a misuse by our own code
    bits = AES_BITS if key_type is KeyType.AES else SECRET_BYTES * 8
    key = session.generate_key(key_type, bits, capabilities=NO_DEFAULTS, template=dict(kind.new))
    _checked(key, kind.new, f"a new {kind.key_type} key")
    return key


def new_transport_key(session: Session) -> Object:
    """Make an AES transport key as a session object."""
    key = session.generate_key(
        KeyType.AES, AES_BITS, capabilities=NO_DEFAULTS, template=dict(NEW_TRANSPORT_KEY)
    )
    _checked(key, NEW_TRANSPORT_KEY, "a new transport key")
    return key


def new_pair(session: Session, algorithm: Algorithm, *, rsa_bits: int | None = None) -> tuple[Object, Object]:
    """Make a key pair as session objects: public, private. RSA takes seconds, and holds the HSM thread for as long.

    Raises:
        ValueError: the algorithm is not one of key pairs.
    """
    if algorithm in CURVES:
        parameters = {Attribute.EC_PARAMS: CURVES[algorithm].parameters}
        curve = session.create_domain_parameters(KeyType.EC, parameters, local=True)
        public, private = curve.generate_keypair(
            capabilities=NO_DEFAULTS, public_template=dict(NEW_PUBLIC), private_template=dict(NEW_PRIVATE)
        )
    elif algorithm is Algorithm.RSA_3072:
        public, private = session.generate_keypair(
            KeyType.RSA,
            rsa_bits or RSA_BITS,
            capabilities=NO_DEFAULTS,
            public_template={Attribute.PUBLIC_EXPONENT: RSA_EXPONENT, **NEW_PUBLIC},
            private_template=dict(NEW_PRIVATE),
        )
    else:
        message = f"{algorithm.value} is not an algorithm of key pairs"
        raise ValueError(message)
    _checked(private, NEW_PRIVATE, "a new private key")
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


def unwrap(kek: Object, blob: bytes, kind: Kind, profile: HsmProfile) -> Object:
    """Open a key of the kind inside the token, as the kind's template says and no other."""
    template = kind.unwrap
    key_class, key_type = template[Attribute.CLASS], template[Attribute.KEY_TYPE]
    if not isinstance(key_class, ObjectClass) or not isinstance(key_type, KeyType):
        raise TypeError(kind.key_type)
    key = _usable(kek, UnwrapMixin).unwrap_key(
        key_class,
        key_type,
        blob,
        mechanism=profile.key_wrap,
        capabilities=NO_DEFAULTS,
        template={**(NOT_OF_A_PRIVATE_KEY if kind.is_private else {}), **template},
    )
    _checked(key, template, f"an unwrapped {kind.key_type} key")
    return key


def is_of(key: Object, algorithm: Algorithm) -> bool:
    """Whether an opened private key is of this algorithm: no unwrap template can pin a curve or a length."""
    if algorithm in CURVES:
        return bytes(key[Attribute.EC_PARAMS]) == CURVES[algorithm].parameters
    if algorithm is Algorithm.RSA_3072:
        return len(bytes(key[Attribute.MODULUS])) * 8 == RSA_BITS
    return True


def mac(key: Object, data: bytes, profile: HsmProfile) -> bytes:
    """HMAC-SHA256 inside the token."""
    return _usable(key, SignMixin).sign(data, mechanism=profile.mac)


def verify_mac(key: Object, data: bytes, value: bytes, profile: HsmProfile) -> bool:
    """Whether the value is the HMAC-SHA256 of the data, compared inside the token."""
    return _usable(key, VerifyMixin).verify(data, value, mechanism=profile.mac)


def cmac(key: Object, data: bytes, profile: HsmProfile) -> bytes:
    """AES-CMAC inside the token (NIST SP 800-38B), 16 bytes."""
    return _usable(key, SignMixin).sign(data, mechanism=profile.cmac)


def prove(key: Object, kind: Kind, data: bytes, profile: HsmProfile) -> bytes:
    """The MAC that commits to a secret of the kind, or confirms it.

    Raises:
        ValueError: the kind is of private keys.
    """
    if kind.proof is Proof.SIGNATURE:
        message = f"{kind.key_type} keys prove themselves by a signature"
        raise ValueError(message)
    return (cmac if kind.proof is Proof.CMAC else mac)(key, data, profile)


def encrypt(key: Object, nonce: bytes, plaintext: bytes, aad: bytes, profile: HsmProfile) -> bytes:
    """AES-256-GCM inside the token; the tag is the last 16 bytes."""
    parameters = GCMParams(nonce, aad, GCM_TAG_BITS)
    return _whole(
        _usable(key, EncryptMixin).encrypt(plaintext, mechanism=profile.gcm, mechanism_param=parameters)
    )


def decrypt(key: Object, nonce: bytes, sealed: bytes, aad: bytes, profile: HsmProfile) -> bytes:
    """The inverse; a wrong tag is a general error of the module."""
    parameters = GCMParams(nonce, aad, GCM_TAG_BITS)
    return _whole(
        _usable(key, DecryptMixin).decrypt(sealed, mechanism=profile.gcm, mechanism_param=parameters)
    )


def sign(key: Object, algorithm: Algorithm, message: bytes, profile: HsmProfile) -> bytes:
    """ECDSA as r‖s (FIPS 186-5 §6.4; RFC 7518 §3.4), or RSASSA-PSS (RFC 8017 §8.1), by the key's algorithm."""
    signer = _usable(key, SignMixin)
    if algorithm is Algorithm.RSA_3072:
        return signer.sign(message, mechanism=profile.pss, mechanism_param=profile.pss_parameters)
    return signer.sign(CURVES[algorithm].digest(message).digest(), mechanism=profile.ecdsa)


def spki_of(public: Object, algorithm: Algorithm) -> bytes:
    """DER SubjectPublicKeyInfo of a public key object."""
    if algorithm is Algorithm.RSA_3072:
        return rsa_spki(public)
    curve = CURVES[algorithm]
    point = bytes(public[Attribute.EC_POINT])[-curve.point_bytes :]  # behind the OCTET STRING header
    key = EllipticCurvePublicKey.from_encoded_point(curve.curve(), point)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


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


def _whole(data: bytes | Iterator[bytes]) -> bytes:
    """What python-pkcs11 gives for bytes; only for an iterator it gives one."""
    if not isinstance(data, bytes):
        raise TypeError(type(data).__name__)
    return data


def _usable(key: Object, use: type[Use]) -> Use:
    """The object as what it is used for; python-pkcs11 decides that by the object's own attributes."""
    if not isinstance(key, use):
        message = f"the token's object cannot be used as {use.__name__.removesuffix('Mixin').lower()} key"
        raise HsmError(message)
    return key
