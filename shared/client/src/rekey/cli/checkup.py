"""What ``rekey doctor`` judges: each finding is one line with its fix. Pure; ``doctor`` collects what is judged here."""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from rekey.cli.errors import Exit
from rekey.cli.output import View
from rekey_core.contracts import HealthAnswer
from rekey_core.errors import SchemaError
from rekey_core.readers import key_in

EXPIRES_SOON_DAYS: Final = 14
CLOCK_WARN_S: Final = 5.0
CLOCK_FAIL_S: Final = 60.0  # commands.CLOCK_SKEW_S: a command from further ahead is refused
FILL_WARN: Final = 0.70  # of a stream's size
FILL_FAIL: Final = 0.80  # from here on deliveries and reports stop (DESIGN §3)
LAG_WARN: Final = 100  # messages that wait for one consumer
SHOWN_ALARMS: Final = 3
_REMARKS: Final[Mapping[str, tuple[str, str]]] = {  # what a service says at /readyz although it is ready
    "software-keys": (
        "its keys are in software (SoftHSM): whoever reads the token's files has them",
        "development only; use an HSM for anything else",
    ),
    "database-away": (
        "its database does not answer; it goes on without, and a start takes longer",
        "start the database, or correct the URL in the service's settings; its log names the error (database-away)",
    ),
    "certificate-expires": (
        "its certificate expires soon, or has",
        "have the environment's CA issue a new one and put it in place: the service takes it over while it runs",
    ),
    "identity-refused": (
        "its certificate or signing key was replaced by something that it cannot use; it goes on with the one before",
        "the service's log says what it expected and found (identity-refused)",
    ),
}


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Line:
    """One finding. ``exit`` is what the process ends with when this is the first that failed."""

    level: Level
    what: str
    fix: str | None = None
    exit: Exit = Exit.FAILURE


def ok(what: str) -> Line:
    """As it should be."""
    return Line(Level.OK, what)


def warn(what: str, fix: str) -> Line:
    """It works, and somebody should look at it."""
    return Line(Level.WARN, what, fix)


def fail(what: str, fix: str, code: Exit = Exit.FAILURE) -> Line:
    """It does not work."""
    return Line(Level.FAIL, what, fix, code)


def exit_code(lines: Iterable[Line]) -> Exit:
    """Of the first that failed; a warning is no failure."""
    return next((line.exit for line in lines if line.level is Level.FAIL), Exit.DONE)


def checkup_view(lines: Sequence[Line]) -> View:
    """One line each."""
    rows = [{"level": line.level.value, "what": line.what, "fix": line.fix} for line in lines]
    texts = [f"{line.level:<4}  {line.what}" + (f"  | fix: {line.fix}" if line.fix else "") for line in lines]
    return View(rows, lines=tuple(texts))


def certificate(pem: bytes, key_pem: bytes, identity: str, now: datetime) -> Line:
    """The certificate is of this identity (SPIFFE URI), belongs to the key, and is valid for a while.

    Raises:
        ValueError: a file is not a certificate or not an unencrypted private key in PEM.
    """
    found = x509.load_pem_x509_certificate(pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    until = f"{found.not_valid_after_utc:%Y-%m-%d %H:%M}Z"
    renew = "have the environment's CA issue a new one for tls_cert"
    if identity not in uris:
        text = f"certificate: expected {identity}, found {', '.join(uris) or 'no URI'}"
        return fail(text, "take tls_cert and person from the same context", Exit.USAGE)
    if _public(load_pem_private_key(key_pem, None).public_key()) != _public(found.public_key()):
        return fail(
            "certificate: tls_key is not its key", "take tls_cert and tls_key from one directory", Exit.USAGE
        )
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        since = f"{found.not_valid_before_utc:%Y-%m-%d %H:%M}Z"
        return fail(f"certificate: valid from {since} to {until} only", renew)
    days = (found.not_valid_after_utc - now).days
    if days < EXPIRES_SOON_DAYS:
        return warn(f"certificate: expires at {until}", renew)
    return ok(f"certificate: {identity}, valid until {until}")


def authority(pem: bytes, now: datetime) -> Line:
    """The certificate of the CA is valid. Raises ValueError for what is none."""
    found = x509.load_pem_x509_certificate(pem)
    until = f"{found.not_valid_after_utc:%Y-%m-%d %H:%M}Z"
    if now >= found.not_valid_after_utc:
        return fail(f"CA: expired at {until}", "take tls_ca from whoever runs the environment")
    if (found.not_valid_after_utc - now).days < EXPIRES_SOON_DAYS:
        return warn(f"CA: expires at {until}", "take the new tls_ca from whoever runs the environment")
    return ok(f"CA: valid until {until}")


def private_file(name: str, path: str, mode: int) -> Line:
    """Nobody but its owner may read a private key."""
    if stat.S_IMODE(mode) & 0o077:
        return fail(
            f"{name}: others may read {path} ({stat.S_IMODE(mode):04o})", f"chmod 600 {path}", Exit.USAGE
        )
    return ok(f"{name}: only you may read {path}")


def clock(ahead_s: float, uncertain_s: float) -> Line:
    """How far our clock is ahead of the bus's; the answer took ``uncertain_s``, so much may be wrong about it."""
    off = max(0.0, abs(ahead_s) - uncertain_s)
    text = f"clock: {ahead_s:+.1f} s against the bus"
    if off > CLOCK_FAIL_S:
        return fail(f"{text}: commands are refused", "set the clock (NTP)", Exit.PRECONDITION)
    return warn(text, "set the clock (NTP)") if off > CLOCK_WARN_S else ok(text)


def audits(answer: HealthAnswer) -> list[Line]:
    """What audit says of the environment: consumers, streams, alarms."""
    return [*_lag(answer), *_fill(answer), _alarms(answer)]


def _lag(answer: HealthAnswer) -> Iterable[Line]:
    late = [lag for lag in answer.consumers if lag.pending >= LAG_WARN]
    for lag in late:
        text = f"consumer {lag.consumer} of {lag.stream}: {lag.pending} messages wait"
        yield warn(
            f"{text}, {lag.unacknowledged} are being handled", "look at /readyz and the log of its service"
        )
    if not late:
        waiting = sum(lag.pending for lag in answer.consumers)
        yield ok(f"consumers: {len(answer.consumers)} follow their streams, {waiting} messages wait")


def _fill(answer: HealthAnswer) -> Iterable[Line]:
    fills = [
        (stream.stream, stream.bytes / stream.max_bytes) for stream in answer.streams if stream.max_bytes > 0
    ]
    full = [(name, part) for name, part in fills if part >= FILL_WARN]
    for name, part in full:
        fix = "give the stream more room (provisioner)"
        text = f"stream {name}: {part:.0%} full"
        yield fail(f"{text}: deliveries and reports stop", fix) if part >= FILL_FAIL else warn(text, fix)
    if not full and fills:
        name, part = max(fills, key=lambda fill: fill[1])
        yield ok(f"streams: the fullest is {name}, {part:.0%} full")


def _alarms(answer: HealthAnswer) -> Line:
    if not answer.alarms_last_day:
        return ok("alarms: none in the last day")
    shown = [f"{a.at:%H:%M:%SZ} {a.author} {a.code} at {a.stream} {a.sequence}" for a in answer.alarms]
    newest = "; ".join(shown[-SHOWN_ALARMS:]) or "outside of your scope"
    text = f"alarms: {answer.alarms_last_day} in the last day: {newest}"
    return warn(
        text, _look_at(answer.alarms[-1].subject) if answer.alarms else "ask an auditor of those keys"
    )


def _look_at(subject: str) -> str:
    """Where more is said about the newest alarm: a fact's key shows it, anything else stands in audit's log."""
    where = "audit's log (event alarm) says why"
    with suppress(SchemaError):  # no key's name
        if subject.startswith("evt."):
            where = f"rekey key history {key_in(subject)} shows what is VOID"
    return f"find out who wrote {subject}; {where}"


def readiness(service: str, url: str, status: int, body: Mapping[str, object]) -> list[Line]:
    """What a service says of itself at ``/readyz``."""
    if status == 200:  # noqa: PLR2004 - HTTP's OK
        found = [ok(f"{service}: ready")]
    else:
        found = [fail(f"{service}: not ready: {_failed(body)}", f"{url}/readyz; the service's log")]
    remarks = body.get("remarks")
    said = remarks if isinstance(remarks, list) else []
    return [
        *found,
        *(warn(f"{service}: {what}", fix) for name, (what, fix) in _REMARKS.items() if name in said),
    ]


def _failed(body: Mapping[str, object]) -> str:
    failed = body.get("failed")
    parts = [f for f in failed if isinstance(f, dict)] if isinstance(failed, list) else []
    words = [f"{p.get('check')} since {p.get('since')}: {p.get('message')}" for p in parts]
    return "; ".join(words) or "it does not say why"


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded
