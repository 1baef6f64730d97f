"""The URL of a database server: what it may say, and those that are made of it. Pure; no error holds a part of it.

postgresql://role:password@host:port/database?sslmode=verify-full&sslrootcert=FILE
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret

SCHEMES: Final = ("postgresql", "postgres")
HINT: Final = (
    "postgresql://role:password@host:port/database, with @ : / ? # % of a password written as %40 %3A …"
)
DEMANDS: Final = frozenset(
    {
        *("host", "port", "target_session_attrs"),
        *("sslmode", "sslrootcert", "sslcrl", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)  # of the server: services get the same, so nothing that makes the administrator the administrator may be here
_WHAT: Final = "the URL of the database server"
_SSLROOTCERT: Final = "sslrootcert"
_CHECKED_MODES: Final = frozenset({"verify-ca", "verify-full"})


def check_url(url: Secret) -> None:
    """Return if the URL says one thing only, to asyncpg as to us.

    asyncpg takes what a URL leaves open from the environment, and ends the password at the first ``@``: what it could
    read in another way is refused.

    Raises:
        ConfigurationError: it is none, names no role, has a parameter that is no demand on the server, or demands a
            certificate and names no file of whom to trust.
    """
    parts = _split(url)
    if parts.netloc.count("@") != 1 or not parts.username or not _has_port(parts):
        raise ConfigurationError(f"{_WHAT}: expected one role:password@host:port", hint=HINT)
    demands = _demands(parts)
    foreign = sorted(set(demands) - DEMANDS)
    if foreign:
        message = f"{_WHAT}: expected only demands on the server after the ?, found {', '.join(foreign)}"
        raise ConfigurationError(message, hint=f"role and password stand before the host: {HINT}")
    file = demands.get(_SSLROOTCERT)
    if demands.get("sslmode") in _CHECKED_MODES and (file is None or not Path(file).is_file()):
        message = f"{_WHAT}: expected the file of a CA in {_SSLROOTCERT}, found {file or 'none'}"
        raise ConfigurationError(
            message, hint=f"…?sslmode=verify-full&{_SSLROOTCERT}=/absolute/path/of/ca.crt"
        )


def server_of(url: Secret) -> str:
    """Where the server is, to be shown: host and port of a URL that was checked."""
    parts = _split(url)
    where = _demands(parts)
    host = parts.hostname or where.get("host", "localhost")
    return f"{host}:{parts.port or where.get('port', 5432)}"


def role_of(url: Secret) -> str:
    """Whose URL it is."""
    return unquote(_split(url).username or "")


def in_database(url: Secret, database: str | None) -> Secret:
    """The URL of another database on the same server."""
    parts = _split(url)
    changed = parts if database is None else parts._replace(path=f"/{database}")
    return Secret(urlunsplit(changed).encode())


def as_role(url: Secret, role: str, password: Secret, database: str) -> Secret:
    """The same server and the same demands on it, for another role. ``url`` was checked: no part of its password is left."""
    parts = _split(url)
    place = parts.netloc.partition("@")[2]
    who = f"{role}:{password.reveal().decode()}"
    return Secret(urlunsplit(parts._replace(netloc=f"{who}@{place}", path=f"/{database}")).encode())


def _split(url: Secret) -> SplitResult:
    try:
        parts = urlsplit(url.reveal().decode())
    except ValueError:  # its text may hold a part of the URL
        raise ConfigurationError(f"{_WHAT} is none", hint=HINT) from None
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(f"{_WHAT} is none", hint=HINT)
    return parts


def _demands(parts: SplitResult) -> dict[str, str]:
    try:
        return dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(f"{_WHAT}: expected name=value after the ?", hint=HINT) from None


def _has_port(parts: SplitResult) -> bool:
    """A number, or none: 5432."""
    try:
        return parts.port != 0
    except ValueError:
        return False
