"""Composition of revocation: one consumer, one repetition."""

from __future__ import annotations

from pathlib import Path

from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service
from rekey_runtime.settings import load_settings

from rekey_revocation.handlers import Revocation
from rekey_revocation.settings import RevocationSettings


def make_service(path: Path) -> Service:
    """The process from its settings file. Raises ConfigurationError."""
    settings = load_settings(path, RevocationSettings)
    service = Service(settings)
    revocation = Revocation(service.bus, KeyLog(service.bus))
    service.on_start(revocation.recall)
    service.consume("revocation", revocation.on_command)
    service.every(settings.repeat_s, revocation.repeat)
    return service
