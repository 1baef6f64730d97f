"""What a service weighs and how long it takes to be ready, against a process that imports the same libraries and no more.

One pair is one service. The libraries are every module that the service's composition loads and that is not ours, found out
by loading it; what comes on top is our code, connections, tokens, threads, and what was read to be ready.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rekey_core.names import Service
from tests.bench.figures import Outcome, Pair, Scale
from tests.system.stack import RunningStack, running_stack

IDLE_S: Final = 5.0  # after the last one was ready
KB_PER_MB: Final = 1024
TIMEOUT_S: Final = 120.0

_LIST: Final = """
import importlib, json, sys
importlib.import_module(sys.argv[1] + ".app"); importlib.import_module("rekey_runtime.service")
print(json.dumps([name for name in sys.modules if not name.startswith(("rekey", "__main__"))]))
"""
_IMPORT: Final = """
import contextlib, importlib, json, sys
for name in json.loads(sys.argv[1]):
    with contextlib.suppress(ImportError):  # what only its own package can load comes with that
        importlib.import_module(name)
print("ready", flush=True)
sys.stdin.read()
"""


def memory(place: Path, _: Scale) -> Outcome:
    """Megabytes of resident memory, idle, with no key in the system."""

    def weigh(stack: RunningStack, service: Service) -> Pair:
        return Pair(_resident_mb(stack.pid(service)), _bare(service)[1])

    return _each(place, "MB", weigh, "resident, idle, no key; one pair is one service")


def start(place: Path, _: Scale) -> Outcome:
    """Seconds from the start of the process until it says that it is ready."""

    def clock(stack: RunningStack, service: Service) -> Pair:
        stack.hold(service)
        began = time.perf_counter()
        stack.release(service)
        return Pair(time.perf_counter() - began, _bare(service)[0])

    return _each(place, "s", clock, "started again, warm; one pair is one service")


def _each(place: Path, unit: str, measure: Callable[[RunningStack, Service], Pair], ran: str) -> Outcome:
    with running_stack(place / "stack", registered=False, instances=False, copied=False) as stack:
        time.sleep(IDLE_S)
        found = {service: measure(stack, service) for service in Service}
    return Outcome(tuple(found.values()), unit, ran, {s.value: pair.ratio for s, pair in found.items()})


def _bare(service: Service) -> tuple[float, float]:
    """Seconds and megabytes of a process that imports the libraries of a service."""
    package = f"rekey_{service.value.replace('-', '_')}"
    listed = subprocess.run(
        [sys.executable, "-c", _LIST, package], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    names = json.dumps(json.loads(listed.stdout))
    began = time.perf_counter()
    command = [sys.executable, "-c", _IMPORT, names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise AssertionError(f"the libraries of {service} do not import alone")
        return time.perf_counter() - began, _resident_mb(process.pid)


def _resident_mb(pid: int) -> float:
    found = re.search(
        r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise AssertionError(f"process {pid} has no resident memory")
    return int(found[1]) / KB_PER_MB
