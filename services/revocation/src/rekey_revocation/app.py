"""Composition of revocation: one consumer, one repetition."""

from __future__ import annotations

from rekey_revocation.handlers import Revocation
from rekey_revocation.settings import RevocationSettings
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service


async def compose(service: Service, settings: RevocationSettings) -> None:
    """Recall what was stopped, then take commands."""
    revocation = Revocation(service.bus, KeyLog(service.bus))
    await revocation.recall()
    service.consume("revocation", revocation.on_command)
    service.every(settings.repeat_s, revocation.repeat)
