"""Composition of the rotation-scheduler: four consumers, one worker, one tick."""

from __future__ import annotations

from rekey_rotation_scheduler.handlers import Scheduler
from rekey_rotation_scheduler.settings import SchedulerSettings
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service


async def compose(service: Service, settings: SchedulerSettings) -> None:
    """Look at every key once, then at what moves."""
    scheduler = Scheduler(service.bus, KeyLog(service.bus))
    await scheduler.recall()
    service.consume("rotation-scheduler", scheduler.on_command)
    service.consume("rotation-scheduler-facts", scheduler.on_fact)
    service.consume("rotation-scheduler-receipts", scheduler.on_receipt)
    service.consume("rotation-scheduler-quotas", scheduler.on_quota)
    service.every(settings.tick_s, scheduler.tick)
    service.background(scheduler.work)
