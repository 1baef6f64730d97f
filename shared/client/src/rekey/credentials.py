"""The certificate files of a dependent or person: judged before they are used, and noticed when they are replaced."""

from __future__ import annotations

import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from rekey_core.certificates import Credentials, judge
from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret


@dataclass(frozen=True)
class Login:
    """Where the bus is and who we are to it; ``name`` is the dependent or person in the certificate."""

    bus_url: str
    server_name: str
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    name: str


def servers(bus_url: str) -> list[str]:
    """The nodes that a bus URL names.

    Raises:
        ConfigurationError: it names none; says what was expected and found.
    """
    nodes = bus_url.split(",")
    for node in nodes:
        try:
            parts = urllib.parse.urlsplit(node)
            is_one = parts.scheme == "tls" and parts.hostname is not None and parts.port != 0
        except ValueError:  # a port that is none
            is_one = False
        if not is_one:
            text = f"bus_url: expected tls://host:port, found {node!r}"
            raise ConfigurationError(text, hint="correct bus_url; several nodes are separated by commas")
    return nodes


def read_credentials(login: Login) -> Credentials:
    """Certificate, key and CAs as the files hold them now.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    try:
        cert, key, ca = (file.read_bytes() for file in (login.tls_cert, login.tls_key, login.tls_ca))
    except OSError as error:
        text = f"certificate of {login.name}: {error.filename}: {error.strerror}"
        raise ConfigurationError(text, hint="correct tls_cert, tls_key and tls_ca") from error
    return Credentials(cert, Secret(key), ca)


def tls(credentials: Credentials, login: Login) -> ssl.SSLContext:
    """A context of its own for these credentials, which the files still hold.

    Raises:
        ConfigurationError: they cannot be used, or the files were replaced meanwhile.
    """
    judge(credentials, None)
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=login.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(login.tls_cert, login.tls_key)
    except OSError as error:
        raise ConfigurationError(f"certificate of {login.name}: {error}") from error
    if read_credentials(login) != credentials:  # OpenSSL takes paths, and what was judged were bytes
        raise ConfigurationError(f"certificate of {login.name}: it was replaced while it was read")
    return context
