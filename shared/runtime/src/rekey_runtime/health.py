"""What is wrong with a service and since when; ``/livez`` and ``/readyz`` say it.

Ready means: my consumers are bound and progressing, my HSM key works, nothing I do is stuck (DESIGN §4); never just an
open socket. All work is done without the database, so one that is away is a remark (decision 0080).
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from rekey_core.errors import RekeyError
from rekey_runtime.http_server import Response, json_response


class Check(enum.StrEnum):
    """The parts of readiness."""

    START = "start"
    CONSUMERS = "consumers"
    WORK = "work"
    HSM = "hsm"
    ALARMS = "alarms"
    WATCHDOG = "watchdog"


class Remark(enum.StrEnum):
    """What does not make a service unready, and what everybody should know."""

    SOFTWARE_KEYS = "software-keys"
    DATABASE_AWAY = "database-away"  # rows are read from the log again when it is back; a start takes longer
    CERTIFICATE_EXPIRES = "certificate-expires"  # soon, or it has
    IDENTITY_REFUSED = "identity-refused"  # its files were replaced by something that cannot be used


@dataclass(frozen=True)
class Finding:
    """One part that does not work."""

    check: Check
    code: str
    message: str
    since: datetime


STARTING: Final = "it has not started yet: it reads what it needs first"


@dataclass
class Health:
    """The findings of the last round of the watchdog. ``stale_s``: how old a round may be."""

    service: str
    stale_s: float
    remarks: set[Remark] = field(default_factory=set)
    identity: Mapping[str, str] = field(default_factory=dict)  # which certificate and signing key are in use
    alive: bool = True
    _findings: dict[Check, Finding] = field(default_factory=dict)
    _round: float = field(default_factory=time.monotonic)
    _round_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self._findings[Check.START] = Finding(Check.START, "starting", STARTING, datetime.now(UTC))

    def note(self, check: Check, error: RekeyError | None, since: datetime | None = None) -> None:
        """A part works (no error), or not; ``since`` when it is known better than by the first finding."""
        before = self._findings.get(check)
        if error is None:
            self._findings.pop(check, None)
            return
        first = since or (before.since if before else datetime.now(UTC))
        self._findings[check] = Finding(check, error.code, str(error), first)

    def remark(self, remark: Remark, *, holds: bool) -> None:
        """Say it, or no longer."""
        (self.remarks.add if holds else self.remarks.discard)(remark)

    def database(self, is_away: bool) -> None:  # noqa: FBT001 - how a projector says it
        """Say that the database is away, or no longer."""
        self.remark(Remark.DATABASE_AWAY, holds=is_away)

    def looked(self) -> None:
        """The watchdog has been everywhere."""
        self._findings.pop(Check.START, None)
        self._round, self._round_at = time.monotonic(), datetime.now(UTC)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What does not work now; a watchdog that hangs is a finding itself."""
        found = tuple(self._findings.values())
        if Check.START not in self._findings and time.monotonic() - self._round > self.stale_s:
            message = f"no round of checks has ended for {self.stale_s:g} s: one of them hangs"
            found += (Finding(Check.WATCHDOG, "unavailable", message, self._round_at),)
        return found

    async def answer(self, path: str) -> Response | None:
        """The two paths."""
        if path == "/livez":
            status = HTTPStatus.OK if self.alive else HTTPStatus.SERVICE_UNAVAILABLE
            return json_response(status, {"service": self.service, "alive": self.alive})
        if path != "/readyz":
            return None
        failed = [
            {"check": f.check, "code": f.code, "message": f.message, "since": f.since.isoformat()}
            for f in self.findings
        ]
        body = {
            "service": self.service,
            "ready": not failed,
            "failed": failed,
            "remarks": sorted(self.remarks),
            "identity": self.identity,
        }
        return json_response(HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK, body)
