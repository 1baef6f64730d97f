"""What the security officer may do: mark a dependent's transport key as trusted. For enrolment alone.

Only an officer can set TRUSTED, and only on creation; no service has the officer's PIN, so none can add a
recipient. Officer and user cannot be logged in in one process: enrolment is a process of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute
from pkcs11.types import Object, Session

from rekey_core.errors import AlreadyExistsError, HsmError, SchemaError
from rekey_core.secret import Secret
from rekey_hsm.keys import read_back, rsa_spki
from rekey_hsm.labels import transport_label
from rekey_hsm.profile import Library, load_module
from rekey_hsm.templates import TRANSPORT_KEY
from rekey_hsm.thread import call_on_hsm_thread
from rekey_hsm.token import WRONG_PIN, find_one, require_token, storing

MIN_TRANSPORT_BITS: Final = 3072  # 128 bits of security (NIST SP 800-57 part 1 Rev 5 §5.6.1.1)
_EXPONENT: Final = 65537  # FIPS 186-5 §5.1


@dataclass(frozen=True)
class EnrolledKey:
    """The trusted transport key as the token holds it; ``changed`` says whether this call made it."""

    label: str
    spki_sha256: str
    changed: bool


def enrol_transport_key(
    *, module: Path, token_label: str, serial: str, so_pin: Secret, dependent: str, spki_der: bytes
) -> EnrolledKey:
    """Create the dependent's RSA public key as TRUSTED, for wrapping only; the same again is no change.

    Args:
        module: the PKCS#11 module.
        token_label: the distributor's token.
        serial: which one it must be.
        so_pin: the security officer's PIN; never tried again when it is wrong.
        dependent: whose key it is.
        spki_der: the key as DER SubjectPublicKeyInfo.

    Raises:
        SchemaError: not an RSA key of at least 3072 bits with exponent 65537.
        AlreadyExistsError: another key is enrolled under the name.
        HsmError: not the token that was founded, a wrong PIN, or the module fails.
    """
    public = _require_transport_key(dependent, spki_der)

    def enrol() -> EnrolledKey:
        library, _ = load_module(str(module))
        session = _log_in(library, token_label, serial, so_pin)
        try:
            return _enrol(session, token_label, dependent, public, hashlib.sha256(spki_der).hexdigest())
        except p11.PKCS11Error as error:
            message = f"token {token_label}: {type(error).__name__} while enrolling {dependent}"
            raise HsmError(message) from error
        finally:
            session.close()

    return call_on_hsm_thread(enrol)


def _require_transport_key(dependent: str, spki_der: bytes) -> RSAPublicKey:
    try:
        public = load_der_public_key(spki_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"transport key of {dependent} is not a DER SubjectPublicKeyInfo"
        raise SchemaError(message) from error
    if not isinstance(public, RSAPublicKey):
        message = f"transport key of {dependent}: expected RSA, found {type(public).__name__}"
        raise SchemaError(message)
    if public.key_size < MIN_TRANSPORT_BITS or public.public_numbers().e != _EXPONENT:
        message = (
            f"transport key of {dependent} has {public.key_size} bits, expected {MIN_TRANSPORT_BITS} or more"
        )
        raise SchemaError(message)
    return public


def _log_in(library: Library, label: str, serial: str, so_pin: Secret) -> Session:
    token = require_token(library, label, serial)
    try:
        return token.open(rw=True, so_pin=so_pin.reveal().decode())
    except WRONG_PIN as error:
        message = f"token {label} refuses the security officer's PIN: {type(error).__name__}"
        raise HsmError(message, hint="never try again: tokens lock after a few wrong PINs") from error
    except p11.PKCS11Error as error:
        message = f"token {label}: {type(error).__name__} while the security officer logs in"
        raise HsmError(message, hint="no service may be logged in in the same process") from error


def _enrol(session: Session, token: str, dependent: str, public: RSAPublicKey, wanted: str) -> EnrolledKey:
    label = transport_label(dependent)
    held = find_one(session, {Attribute.LABEL: label, Attribute.TRUSTED: True}, label)
    changed = held is None
    if held is None:
        with storing(token, label, "enrol again"):
            held = _create(session, label, public)
            read_back(held, TRANSPORT_KEY, label)
    read_back(held, TRANSPORT_KEY, label)
    found = hashlib.sha256(rsa_spki(held)).hexdigest()
    if found != wanted:
        message = f"transport key of {dependent}: expected sha-256 {wanted}, found {found} enrolled"
        raise AlreadyExistsError(message, hint="a dependent's transport key is replaced under a new name")
    return EnrolledKey(label, found, changed)


def _create(session: Session, label: str, public: RSAPublicKey) -> Object:
    numbers = public.public_numbers()
    return session.create_object(
        {
            Attribute.LABEL: label,
            Attribute.ID: label.encode(),
            Attribute.MODULUS: numbers.n.to_bytes(public.key_size // 8, "big"),
            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes(3, "big"),
            **TRANSPORT_KEY,
        }
    )
