"""Generator processes that start together and are asked for rates."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rekey_core.names import Service
from tests.bench.system import Tokens
from tests.system.bus import RunningBus


class Workers:
    """``with Workers(bus, tokens, 2, at_once=32) as workers:`` each is logged in and connected, and waits."""

    def __init__(self, bus: RunningBus, tokens: Tokens, count: int, at_once: int) -> None:
        token = tokens.generator
        self._job = {
            "settings": {name: str(value) for name, value in bus.fields(Service.GENERATOR).items()},
            "label": token.label,
            "serial": token.serial,
            "pin": token.pin.reveal().decode(),
            "at_once": at_once,
        }
        self._count = count
        self._running: list[subprocess.Popen[str]] = []
        self._processor_s, self._made = 0.0, 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.bench.maker"]
        for _ in range(self._count):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._running.append(process)
            self._say(process, self._job)
        self._hear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            with contextlib.suppress(BrokenPipeError):
                assert process.stdin is not None
                process.stdin.close()
            process.wait(timeout=30)

    def raw(self, each: int) -> float:
        """Generate and wrap in the HSM alone, per second, over all workers."""
        return self._rate([{"raw": each}] * self._count)

    def ours(self, names: Sequence[Sequence[str]]) -> float:
        """Versions made as the generator makes them, per second, over all workers; ``names``: each worker's keys."""
        for process, keys in zip(self._running, names, strict=True):
            self._say(process, {"read": list(keys)})
        self._hear()
        return self._rate([{"ours": len(keys)} for keys in names])

    def bus(self, each: int) -> float:
        """Versions whose messages are stored and nothing else, per second, over all workers."""
        return self._rate([{"bus": each}] * self._count)

    def processor_ms(self) -> float:
        """Milliseconds of processor time that a worker took for each version of ours."""
        return 1000 * self._processor_s / self._made

    def _rate(self, tasks: Sequence[dict[str, Any]]) -> float:
        for process, task in zip(self._running, tasks, strict=True):
            self._say(process, task)
        answers = self._hear()
        for answer in answers:
            if "processor" in answer:
                self._processor_s += answer["processor"]
                self._made += answer["made"]
        return float(sum(answer["made"] for answer in answers) / max(answer["seconds"] for answer in answers))

    def _say(self, process: subprocess.Popen[str], what: object) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def _hear(self) -> list[dict[str, Any]]:
        answers = []
        for process in self._running:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise AssertionError(f"a worker ended with {process.wait()}")
            answers.append(json.loads(line))
        return answers
