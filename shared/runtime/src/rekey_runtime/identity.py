"""The files that say who a service is: its certificate with its key and CAs, and the keys that it signs with."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rekey_core.certificates import Credentials, judge
from rekey_core.errors import ConfigurationError
from rekey_core.names import Service
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust
from rekey_runtime.settings import ServiceSettings

NEXT = ".next"  # behind the name of the signing key's file: the key that takes over


def read_credentials(settings: ServiceSettings) -> Credentials:
    """Certificate, key and CAs as the files hold them now.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    files = (settings.tls_cert, settings.tls_key, settings.tls_ca)
    try:
        cert, key, ca = (file.read_bytes() for file in files)
    except OSError as error:
        raise ConfigurationError(f"certificate of {settings.service}: {error}") from error
    return Credentials(cert, Secret(key), ca)


def tls(credentials: Credentials, settings: ServiceSettings) -> ssl.SSLContext:
    """A context of its own for these credentials, which the files still hold.

    Raises:
        ConfigurationError: they cannot be used, or the files were replaced meanwhile.
    """
    judge(credentials, None)
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:
        raise ConfigurationError(f"certificate of {settings.service}: {error}") from error
    if read_credentials(settings) != credentials:  # OpenSSL takes paths, and what was judged were bytes
        raise ConfigurationError(f"certificate of {settings.service}: it was replaced while it was read")
    return context


def read_signing_keys(file: Path) -> tuple[SigningKey, ...]:
    """The key in the file, and the one that is to take over, if there is one beside it.

    Raises:
        ConfigurationError: a file cannot be read, or holds something else.
    """
    following = file.with_name(file.name + NEXT)
    files = (file, following) if following.exists() else (file,)
    return tuple(_signing_key(one) for one in files)


def _signing_key(file: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(file.read_bytes())
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "found something else"
        raise ConfigurationError(f"signing key {file}: expected an Ed25519 key, PEM: {said}") from error


def in_order(
    keys: Sequence[SigningKey],
    trust: Trust,
    service: Service,
    named_for_s: Mapping[str, float],
    settle_s: float,
) -> tuple[SigningKey, ...]:
    """The service's keys, the one that signs first. Pure.

    That is the last one that the trust document names, once it was named for so long that everybody has seen the document
    and no clock of a server is behind it; until then the one before, if that is still named.

    ``keys``: oldest first. ``named_for_s``: for how long we know that the document names a key, by key id.

    Raises:
        ConfigurationError: the document names none of them: whatever they sign would be void.
    """
    known = set(trust.service_keys(service))
    named = [key for key in keys if key.public_raw in known]
    if not named:
        found = ", ".join(key.key_id[:16] for key in keys)
        text = f"signing key of {service}: trust document {trust.n} does not name it, found {found}"
        hint = "put the key in place that it names, or have officers sign a document that names this one"
        raise ConfigurationError(text, hint=hint)
    settled = [key for key in named if named_for_s.get(key.key_id, 0.0) >= settle_s]
    signs = (settled or named[:1])[-1]
    return (signs, *(key for key in keys if key is not signs))


def in_use(
    keys: Sequence[SigningKey], signer: SigningKey, is_over: Callable[[SigningKey], bool]
) -> SigningKey:
    """The key to name to who takes old ones away: the oldest of which something is under way, else the one that signs."""
    return next((key for key in keys if not is_over(key)), signer)
