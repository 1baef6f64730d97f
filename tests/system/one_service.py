"""A service in the process of a test, what is said to it, and how one sees that it has done its work."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from nats.aio.client import Client

from rekey_core.authority import Identity
from rekey_core.commands import command_id
from rekey_core.contracts import SignedCommand
from rekey_core.names import Service as Name
from rekey_runtime.service import Service
from tests.system.bus import RunningBus
from tests.system.certificates import ENV
from tests.system.test_bus import a_register

LIMIT_S: Final = 30  # for what must come; a busy machine stands still for seconds


@contextlib.asynccontextmanager
async def running(
    bus: RunningBus, name: Name, compose: Callable[[Service], Awaitable[None]]
) -> AsyncIterator[Service]:
    """A service in this process, from before its consumers are bound until it has drained."""
    quick = {"fetch_wait_s": 0.2, "watchdog_s": 0.2, "stuck_s": 1.0, "http_port": 0}
    settings = bus.settings(name).model_copy(update=quick)
    service = Service(settings)
    bound = asyncio.Event()

    async def composed(composing: Service) -> None:
        await compose(composing)
        bound.set()

    task = asyncio.create_task(service.run(composed))
    waiting = asyncio.create_task(bound.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT_S)
    try:
        yield service
    finally:
        waiting.cancel()
        service.stop()
        await asyncio.wait_for(task, LIMIT_S)


async def command(bus: RunningBus, key: str) -> SignedCommand:
    """Alice's command, stored under her own right."""
    _, signed = a_register(bus, key)
    subject = f"cmd.register.{ENV}.{key}.{command_id(signed)[:16]}"
    async with bus.client(Identity.PERSON, "alice") as client:
        stored = await client.request(subject, signed.model_dump_json().encode(), timeout=LIMIT_S)
    assert "seq" in json.loads(stored.data), stored.data
    return signed


async def consumer_info(client: Client, consumer: str) -> dict[str, int]:
    """What the bus tells the provisioner of a consumer of commands."""
    answer = await client.request(f"JSC.API.CONSUMER.INFO.COMMANDS.{consumer}", b"", timeout=LIMIT_S)
    info: dict[str, int] = json.loads(answer.data)
    return info


async def settled(bus: RunningBus, consumer: str) -> None:
    """Nothing of a consumer is waiting or unacknowledged any more."""
    async with bus.client(Identity.PROVISIONER) as client, asyncio.timeout(LIMIT_S):
        while True:
            info = await consumer_info(client, consumer)
            if info["num_pending"] == info["num_ack_pending"] == 0:
                return
            await asyncio.sleep(0.05)


def ask_http(service: Service, path: str) -> tuple[int, str]:
    """What the service's own HTTP server answers."""
    assert service.http is not None
    connection = http.client.HTTPConnection("127.0.0.1", service.http.port, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def told(service: Service, status: int) -> list[dict[str, str]]:
    """What ``/readyz`` says failed, as soon as it has this status."""
    until = asyncio.get_running_loop().time() + LIMIT_S
    while (found := await asyncio.to_thread(ask_http, service, "/readyz"))[0] != status:
        assert asyncio.get_running_loop().time() < until, found
        await asyncio.sleep(0.05)
    failed: list[dict[str, str]] = json.loads(found[1])["failed"]
    return failed
