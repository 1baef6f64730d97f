"""One generator process without its consumer: ``python -m tests.bench.maker``, tasks as JSON lines in, figures out."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from rekey_core.envelope import BusMessage
from rekey_core.secret import Secret
from rekey_generator.handlers import Generator
from rekey_hsm import GeneratorHsm, TokenSettings
from rekey_hsm.thread import on_hsm_thread
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import spare_what_stays
from rekey_runtime.settings import ServiceSettings
from tests.bench.creating import raw_versions, read_requests
from tests.bench.system import EPOCH, RawHsm
from tests.hsm_tokens import MODULE

VERSION = 2


async def main() -> None:
    """Do what comes in, until nothing comes any more."""
    job = await _task()
    token = TokenSettings(MODULE, job["label"], job["serial"], Secret(job["pin"].encode()))
    bus = Bus(ServiceSettings.model_validate(job["settings"]))
    await bus.connect()
    await bus.trust.load()
    hsm = await GeneratorHsm.open(token)
    raw = await on_hsm_thread(lambda: RawHsm(token))
    generator = Generator(bus, KeyLog(bus), hsm, EPOCH)
    requests: list[BusMessage] = []
    spare_what_stays()  # as a service does before it takes the first message
    _say(ready=True)
    while task := await _task():
        if "read" in task:
            requests = await read_requests(bus, task["read"], VERSION)
            _say(ready=True)
        elif "raw" in task:
            _say(made=task["raw"], seconds=await on_hsm_thread(lambda: _raw(raw, task["raw"])))
        elif "bus" in task:
            _say(made=task["bus"], seconds=await raw_versions(bus.client, task["bus"]))
        else:
            processor = time.process_time()
            seconds = await _ours(generator, requests, job["at_once"])
            _say(made=len(requests), seconds=seconds, processor=time.process_time() - processor)
    await on_hsm_thread(raw.close)
    await hsm.close()
    await bus.close()


async def _task() -> dict[str, Any]:
    line = await asyncio.to_thread(sys.stdin.readline)
    task: dict[str, Any] = json.loads(line) if line else {}
    return task


def _raw(hsm: RawHsm, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        hsm.generate_and_wrap()
    return time.perf_counter() - began


async def _ours(generator: Generator, requests: Sequence[BusMessage], at_once: int) -> float:
    waiting = list(requests)

    async def work() -> None:
        while waiting:
            await generator.on_rotation_requested(waiting.pop())

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return time.perf_counter() - began


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
