"""Composition of audit: rebuild from the log, then follow it, and answer people."""

from __future__ import annotations

from rekey_audit.handlers import Audit
from rekey_audit.settings import AuditSettings
from rekey_runtime.health import Check
from rekey_runtime.service import Service


async def compose(service: Service, settings: AuditSettings) -> None:
    """Read the log, or what is new in it, then bind the tail. Raises StaleReadError when the log cannot be read in full."""
    audit = Audit(service.bus, settings.database, service.health.database)
    await audit.rebuild()
    if audit.projector is not None:
        service.background(audit.projector.work)
        service.on_stop(audit.projector.close)
    service.consume("audit", audit.on_fact)
    service.consume("audit-reports", audit.on_report)
    service.consume("audit-advisories", audit.on_advisory)
    service.answer(f"ask.{settings.env}.>", audit.on_ask)
    service.answer(f"att.{settings.env}.*", audit.attestations.on_offer)
    service.every(settings.flush_s, audit.say_alarms)
    service.every(settings.drills_s, audit.look_at_drills)
    service.ready_when(Check.ALARMS, audit.prove)
