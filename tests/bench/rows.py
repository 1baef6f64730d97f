"""How long it takes to make the rows of a whole log: ``python -m tests.bench.rows [FACTS]``. One JSON line per figure.

A real log on a real bus, every fact verified; a real PostgreSQL. "replay" is from an empty database to the last row, "start"
is until audit could answer with the rows there, "start without rows" without a database.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from rekey_audit.handlers import Audit
from rekey_core.authority import Identity
from rekey_core.names import Service
from rekey_rotation_scheduler.rows import VERSION, KeyAdoption, adoption_row
from rekey_runtime.bus import Bus
from rekey_runtime.database import Row
from rekey_runtime.keylog import KeyLog
from rekey_runtime.projector import Projector, database_of
from tests.system.a_long_log import Written
from tests.system.bus import RunningBus, running_bus
from tests.system.postgres import Server, running_postgres
from tests.system.test_database import acknowledge_everything

FACTS: Final = 10_000
VERSIONS: Final = 4  # of each key: 4 facts of the key itself and its first request, then 3 for each version


async def measure(bus: RunningBus, server: Server, facts: int) -> None:
    """Write the log, then every figure."""
    written, keys = Written(bus), 0
    while len(written.log.messages) < facts:
        written.a_key(f"orders-{keys:05}", VERSIONS)
        keys += 1
    say("facts", await written.publish(), "")
    say("keys", keys, "")
    async with bus.service_bus(Service.ROTATION_SCHEDULER) as one:
        projector = scheduler(one, server)
        say("replay of adoption", await seconds(projector.catch_up), "s")
        await projector.close()
    async with bus.service_bus(Service.AUDIT) as one:
        audit = Audit(one, None)
        say("start without rows", await seconds(audit.rebuild), "s")
    async with bus.service_bus(Service.AUDIT) as one:
        audit = Audit(one, server.url_file(Identity.AUDIT))
        say("start with an empty database", await seconds(audit.rebuild), "s")
        assert audit.projector is not None
        say("replay of inventory after it", await seconds(audit.projector.catch_up), "s")
        await audit.projector.close()
        await acknowledge_everything(one)
    async with bus.service_bus(Service.AUDIT) as one:
        audit = Audit(one, server.url_file(Identity.AUDIT))
        say("start with rows", await seconds(audit.rebuild), "s")
        say("first question about a key", await seconds(lambda: audit.recalling.know("orders-00000")), "s")
        assert audit.projector is not None
        await audit.projector.close()


def scheduler(bus: Bus, server: Server) -> Projector:
    """As the service composes it."""
    keylog = KeyLog(bus)

    async def row(key: str) -> Row:
        return adoption_row(await keylog.state(key))

    database = database_of(bus, server.url_file(Identity.ROTATION_SCHEDULER), KeyAdoption, VERSION)
    return Projector(bus, database, row)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def say(what: str, value: float, unit: str) -> None:
    """One figure."""
    sys.stdout.write(json.dumps({"figure": what, "value": round(value, 3), "unit": unit}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Everything in a directory that goes away."""
    facts = int(sys.argv[1]) if len(sys.argv) > 1 else FACTS
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "bus").mkdir()
        with (
            running_bus(Path(directory) / "bus", people=("alice", "otto", "rita", "adam")) as bus,
            running_postgres(Path(directory) / "postgres") as server,
        ):
            asyncio.run(measure(bus, server, facts))


if __name__ == "__main__":
    main()
