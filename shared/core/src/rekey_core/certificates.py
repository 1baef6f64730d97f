"""A certificate and its key, judged before use: a pair, of today, of the same identity, by a CA that is trusted. Pure.

OpenSSL takes an expired certificate without a word, and a key that does not fit leaves the context that it was loaded into
of no use; so files that replace others are judged here, as bytes, before anything is loaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret

EXPIRES_SOON: Final = timedelta(days=14)
EXPIRES_SOON_PART: Final = 5  # of a short life, the last fifth is soon
_HINT: Final = (
    "have the CA of the environment issue a pair for this identity, and put both files in place again"
)


@dataclass(frozen=True)
class Credentials:
    """What the files of an identity hold, in PEM: certificate with its intermediates, private key, trusted CAs."""

    cert: bytes
    key: Secret
    ca: bytes


@dataclass(frozen=True)
class Certificate:
    """What a judged certificate says."""

    identity: str  # SPIFFE ID (SPIFFE X.509-SVID §2: exactly one URI)
    fingerprint: str  # SHA-256 of the DER, hex
    not_before: datetime
    not_after: datetime

    def expires_soon(self, now: datetime) -> bool:
        """Whether it is time for a new one."""
        soon = min(EXPIRES_SOON, (self.not_after - self.not_before) / EXPIRES_SOON_PART)
        return self.not_after - now < soon


def judge(given: Credentials, now: datetime | None, *, identity: str | None = None) -> Certificate:
    """What the certificate says, if it may be used.

    Args:
        given: the files as they are.
        now: UTC; none: whether it is valid today is left to the server.
        identity: SPIFFE ID that it must have; none: whichever it has.

    Raises:
        ConfigurationError: a file is not what it should be, the key is another one's, it is not valid now, is another
            identity's, or was not issued by a CA that is trusted; names the setting, expected and found.
    """
    chain = _certificates("tls_cert", given.cert)
    leaf = chain[0]
    if _public(_private(given.key)) != _public(_key_of(leaf)):
        raise _refused("tls_key: expected the key of the certificate in tls_cert, found another one")
    found = _identity(leaf)
    if identity is not None and found != identity:
        raise _refused(f"tls_cert: expected identity {identity}, found {found}")
    since, until = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now is not None and not since <= now < until:
        said = f"{since:%Y-%m-%d %H:%M:%S}Z to {until:%Y-%m-%d %H:%M:%S}Z"
        raise _refused(f"tls_cert: expected it to be valid at {now:%Y-%m-%d %H:%M:%S}Z, found {said}")
    _check_issued(chain, _certificates("tls_ca", given.ca))
    fingerprint = hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    return Certificate(found, fingerprint, since, until)


def _certificates(setting: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _refused(f"{setting}: expected certificates in PEM, found something else") from error


def _private(key: Secret) -> object:
    try:
        return load_pem_private_key(key.reveal(), None).public_key()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
    ):  # said without its cause, which might quote the file
        raise _refused(
            "tls_key: expected a private key without a passphrase, PEM, found something else"
        ) from None


def _key_of(leaf: x509.Certificate) -> object:
    try:
        return leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(
            "tls_cert: expected a certificate of a key that is known here, found another kind"
        ) from error


def _identity(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    if len(uris) != 1:
        raise _refused(
            f"tls_cert: expected exactly one URI, the SPIFFE ID, found {', '.join(uris) or 'none'}"
        )
    return uris[0]


def _check_issued(chain: list[x509.Certificate], trusted: list[x509.Certificate]) -> None:
    """Each is issued by the next, and one of them by a trusted CA (RFC 5280 §6.1.3 a; the server checks the rest)."""
    for place, certificate in enumerate(chain):
        if any(_issued(certificate, ca) for ca in trusted):
            return
        if not _issued(certificate, *chain[place + 1 : place + 2]):
            break
    names = ", ".join(sorted({ca.subject.rfc4514_string() for ca in trusted}))
    issuer = chain[0].issuer.rfc4514_string()
    raise _refused(
        f"tls_cert: expected it to be issued by a CA of tls_ca ({names}), found another issuer ({issuer})"
    )


def _issued(certificate: x509.Certificate, *issuers: x509.Certificate) -> bool:
    for issuer in issuers:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _refused(text: str) -> ConfigurationError:
    return ConfigurationError(text, hint=_HINT)
