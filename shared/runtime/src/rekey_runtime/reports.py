"""What a service says about messages that it refused or set aside: REPORTS, one subject per message, newest wins."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime

from rekey_core.authority import Stream
from rekey_core.commands import command_id
from rekey_core.contracts import Alert, Refusal
from rekey_core.envelope import BusMessage
from rekey_core.errors import MalformedError, RekeyError
from rekey_core.readers import open_command_message
from rekey_core.room import takes_report
from rekey_runtime.bus import Bus

MAX_LINE = 2000

log = logging.getLogger(__name__)


async def publish_refusal(bus: Bus, message: BusMessage, error: RekeyError) -> None:
    """Say that a command was refused and why; ``rekey … --wait`` shows it. Raises as ``Bus.publish``."""
    cause = cause_of(message)
    report = Refusal(
        env=bus.settings.env,
        author=bus.settings.service,
        cause=cause,
        subject=message.subject,
        code=error.code,
        message=str(error)[:MAX_LINE],
        hint=error.hint[:MAX_LINE] if error.hint else None,
        at=datetime.now(UTC),
    )
    await _store(bus, "refusal", cause[:16], report)


async def publish_alert(bus: Bus, message: BusMessage, error: RekeyError) -> None:
    """Say that something was seen that must not be. Raises as ``Bus.publish``."""
    await publish_alarm(
        bus,
        subject=message.subject,
        stream=message.stream,
        sequence=message.sequence,
        code=error.code,
        text=str(error),
        number=_place_digest(message)[:16],
    )


async def publish_alarm(
    bus: Bus, *, subject: str, stream: str, sequence: int, code: str, text: str, number: str
) -> None:
    """Say that somebody must look at something; ``number``: the same for the same thing. Raises as ``Bus.publish``."""
    report = Alert(
        env=bus.settings.env,
        author=bus.settings.service,
        subject=subject,
        stream=stream,
        sequence=sequence,
        code=code,
        message=text[:MAX_LINE],
        at=datetime.now(UTC),
    )
    await _store(bus, "alert", number, report)


async def _store(bus: Bus, kind: str, number: str, report: Refusal | Alert) -> None:
    """Where there is no room for it, the log alone has it: what cannot be reported must not keep its message for ever."""
    service = bus.settings.service
    if not takes_report(bus.room.share(Stream.REPORTS), service):
        where = {"subject": report.subject, "code": report.code}
        log.error("no room for a report: %s", report.message, extra={"event": "report-not-stored", **where})
        return
    await bus.publish(Stream.REPORTS, bus.subjects.report(service, kind, number), bus.pack(report))


def cause_of(message: BusMessage) -> str:
    """The command's id for a command, else the SHA-256 of where the message stands."""
    if message.stream == Stream.COMMANDS:
        try:
            return command_id(open_command_message(message))
        except MalformedError:
            return _place_digest(message)
    return _place_digest(message)


def _place_digest(message: BusMessage) -> str:
    return hashlib.sha256(f"{message.subject}|{message.sequence}".encode()).hexdigest()
