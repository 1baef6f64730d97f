"""Composition of the rotation-scheduler: four consumers, one worker, one tick, and rows that tell where to look first."""

from __future__ import annotations

from rekey_rotation_scheduler.handlers import Scheduler
from rekey_rotation_scheduler.rows import VERSION, KeyAdoption, adoption_row
from rekey_rotation_scheduler.settings import SchedulerSettings
from rekey_runtime.database import Row
from rekey_runtime.keylog import KeyLog
from rekey_runtime.projector import Projector, database_of
from rekey_runtime.service import Service


async def compose(service: Service, settings: SchedulerSettings) -> None:
    """Look at every key once, those that move first, then at what moves."""
    keylog = KeyLog(service.bus)
    projector = _projector(service, settings, keylog)
    scheduler = Scheduler(service.bus, keylog, projector)
    await scheduler.recall()
    if projector is not None:
        service.background(projector.work)
        service.on_stop(projector.close)
    service.consume("rotation-scheduler", scheduler.on_command)
    service.consume("rotation-scheduler-facts", scheduler.on_fact)
    service.consume("rotation-scheduler-receipts", scheduler.on_receipt)
    service.consume("rotation-scheduler-quotas", scheduler.on_quota)
    service.every(settings.tick_s, scheduler.tick)
    service.background(scheduler.work)


def _projector(service: Service, settings: SchedulerSettings, keylog: KeyLog) -> Projector | None:
    if settings.database is None:
        return None

    async def row(key: str) -> Row:
        return adoption_row(await keylog.state(key))

    database = database_of(service.bus, settings.database, KeyAdoption, VERSION)
    return Projector(service.bus, database, row, on_away=service.health.database)
