"""``rekey doctor``: from a person's files to the state of the environment, each thing looked at once, in this order.

Files, then the bus, then trust, then what audit answers, then what each service says of itself. What needs a thing that
fails is not looked at: the line that failed says what to do first.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from rekey.cli import checkup
from rekey.cli.checkup import Line, fail, ok
from rekey.cli.context import Context
from rekey.cli.drills import backup_line
from rekey.cli.errors import Exit, exit_of, hint_of
from rekey.cli.session import Session, connected
from rekey_core.contracts import BackupAnswer, HealthAnswer
from rekey_core.errors import RekeyError
from rekey_core.sshsig import public_key_of

HTTP_S: Final = 5.0
MAX_BODY: Final = 64 * 1024


async def examine(context: Context) -> list[Line]:
    """Every line, in order."""
    now = datetime.now(UTC)
    lines = list(_files(context, now))
    lines += await _environment(context)
    found = await asyncio.gather(
        *(asyncio.to_thread(_service, service.value, url) for service, url in context.services.items())
    )
    return [*lines, *(line for service in found for line in service)]


def _files(context: Context, now: datetime) -> Iterable[Line]:
    identity = f"spiffe://rekey.{context.env}/person/{context.person}"
    yield _read("tls_key", context.tls_key, lambda: _private("tls_key", context.tls_key))
    yield _read("ssh_key", context.ssh_key, lambda: _private("ssh_key", context.ssh_key))
    yield _read(
        "certificate",
        context.tls_cert,
        lambda: checkup.certificate(
            context.tls_cert.read_bytes(), context.tls_key.read_bytes(), identity, now
        ),
    )
    yield _read("CA", context.tls_ca, lambda: checkup.authority(context.tls_ca.read_bytes(), now))


def _private(name: str, path: Path) -> Line:
    return checkup.private_file(name, str(path), path.stat().st_mode)


def _read(what: str, path: Path, look: Callable[[], Line]) -> Line:
    """What a look at a file says; a file that is not there, or not what it should be, is a line too."""
    try:
        return look()
    except OSError as error:
        return fail(
            f"{what}: {error.filename or path}: {error.strerror}",
            "correct its path in the context",
            Exit.USAGE,
        )
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return fail(f"{what}: {path} is not what it should be", "correct its path in the context", Exit.USAGE)


async def _environment(context: Context) -> list[Line]:
    """The bus, trust, ourselves in it, and what audit says."""
    try:
        async with connected(context) as session:
            lines = [ok(f"bus: {context.bus_url} lets {context.person} in"), *_trust(session)]
            return [*lines, *await _audit(session)]
    except RekeyError as error:
        return [_failed("bus" if error.code == "unavailable" else error.code, error)]


def _trust(session: Session) -> Iterable[Line]:
    trust, context = session.trust.current, session.context
    yield ok(f"trust: {trust.n} documents chain to the pinned genesis {context.trust_genesis[:16]}")
    try:
        person = trust.person(context.person)
        line = public_key_of(context.ssh_key.read_bytes())
    except RekeyError as error:
        yield _failed("rights", error, "ask a trust officer to add you")
        return
    except (OSError, ValueError):
        yield fail(f"ssh_key: {context.ssh_key} cannot be used", "check ssh_key in the context", Exit.USAGE)
        return
    if line.split()[:2] not in [
        known.split()[:2] for known in person.ssh_keys
    ]:  # the third word is a comment
        text = f"rights: the trust document has another ssh_key of {context.person}"
        yield fail(text, "use that key, or ask a trust officer to add yours", Exit.DENIED)
        return
    roles = ", ".join(sorted(person.roles)) or "none"
    yield ok(f"rights: roles {roles}; scopes {', '.join(person.scopes) or 'none'}")


async def _audit(session: Session) -> list[Line]:
    began, sent = time.monotonic(), datetime.now(UTC)
    try:
        answer = await session.ask(HealthAnswer)
    except RekeyError as error:
        return [_failed("audit", error)]
    took = time.monotonic() - began
    ahead = (sent + timedelta(seconds=took / 2) - answer.bus_time).total_seconds()
    first = ok(f"audit: answers, its log is read up to {answer.as_of}")
    return [first, checkup.clock(ahead, took), *checkup.audits(answer), await _backups(session)]


async def _backups(session: Session) -> Line:
    try:
        return backup_line(await session.ask(BackupAnswer))
    except RekeyError as error:
        return _failed("backups", error)


def _failed(what: str, error: RekeyError, fix: str | None = None) -> Line:
    return fail(f"{what}: {error}", fix or hint_of(error), exit_of(error))


def _service(service: str, url: str) -> list[Line]:
    try:
        status, body = _get(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"{service}: {url}: {str(error) or type(error).__name__}"
        return [
            fail(text, "start it, or correct its address under [services] in the context", Exit.UNREACHABLE)
        ]
    return checkup.readiness(service, url, status, body)


def _get(url: str) -> tuple[int, Mapping[str, object]]:
    """Status and body of ``/readyz``. Raises OSError, HTTPException or ValueError for anything else."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError("expected http://host:port")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=HTTP_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read(MAX_BODY))
    finally:
        connection.close()
    return answer.status, body if isinstance(body, dict) else {}
