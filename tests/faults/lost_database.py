"""What can become of the database of a running stack, and whether its rows are what the log says again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from rekey_audit.settings import AuditSettings
from rekey_core.authority import Identity
from rekey_core.errors import RekeyError
from rekey_core.names import Service
from rekey_local.settings import service_settings
from rekey_local.stack import DATABASE
from rekey_runtime.bus import Bus
from rekey_runtime.settings import load_settings
from tests.system.a_long_log import folded, whole
from tests.system.postgres import Administrator
from tests.system.stack import RunningStack


def administrator(stack: RunningStack) -> Administrator:
    """Whoever owns the database server of a stack."""
    return Administrator(stack.layout, stack.plan)


def killed(stack: RunningStack, _: Path) -> None:
    """SIGKILL of the server; the supervisor starts it again."""
    stack.kill(DATABASE)


def dropped(stack: RunningStack, _: Path) -> None:
    """The database is dropped under its users and made again, empty."""
    asyncio.run(administrator(stack).drop())
    asyncio.run(administrator(stack).provision())


def restored(stack: RunningStack, older: Path) -> None:
    """An older one is restored, and who reads rows at a start is started again."""
    administrator(stack).restore(older)
    for name in (Service.AUDIT.value, Service.ROTATION_SCHEDULER.value):
        stack.kill(name)


def away(stack: RunningStack, _: Path) -> None:
    """There is no database while both services start."""
    stack.hold(DATABASE)
    for name in (Service.AUDIT.value, Service.ROTATION_SCHEDULER.value):
        stack.kill(name)
        stack.ready(name)
    stack.release(DATABASE)


def rows_are_right(stack: RunningStack) -> bool:
    """Whether both services' rows are byte for byte what one fold of the whole log says; not while either cannot be read."""
    try:
        return asyncio.run(_rows_are_right(stack))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, RekeyError, OSError):
        return False


async def _rows_are_right(stack: RunningStack) -> bool:
    bus = Bus(load_settings(service_settings(stack.layout, Service.AUDIT), AuditSettings))
    await bus.connect()
    try:
        trust = await bus.trust.load()
        expected = folded(await whole(bus), trust)
    finally:
        await bus.close()
    found = {identity: await administrator(stack).rows(identity) for identity in expected}
    return found == expected and all(
        b"orders-db" in found[identity] for identity in Identity if identity in found
    )
