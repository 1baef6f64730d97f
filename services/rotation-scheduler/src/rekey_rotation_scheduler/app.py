"""Composition of the rotation-scheduler: three consumers, one worker, one tick."""

from __future__ import annotations

from pathlib import Path

from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service
from rekey_runtime.settings import load_settings

from rekey_rotation_scheduler.handlers import Scheduler
from rekey_rotation_scheduler.settings import SchedulerSettings


def make_service(path: Path) -> Service:
    """The process from its settings file. Raises ConfigurationError."""
    settings = load_settings(path, SchedulerSettings)
    service = Service(settings)
    scheduler = Scheduler(service.bus, KeyLog(service.bus))
    service.on_start(scheduler.recall)
    service.consume("rotation-scheduler", scheduler.on_command)
    service.consume("rotation-scheduler-facts", scheduler.on_fact)
    service.consume("rotation-scheduler-receipts", scheduler.on_receipt)
    service.every(settings.tick_s, scheduler.tick)
    service.every(settings.tick_s, scheduler.work)
    return service
