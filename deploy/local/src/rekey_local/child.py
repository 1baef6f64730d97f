"""One child process: its own session, only the environment that it is given, dead when its parent dies."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from rekey_local.layout import private_directory

PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
LINE_LIMIT: Final = 1 << 20  # bytes of one line on a child's stdout
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Line = Mapping[str, object]


@dataclass(frozen=True)
class ChildPlan:
    """How a process is started. ``environment`` is added to the few variables that every process gets."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM  # asks it to end what it is doing, and then to end


class Child:
    """A running process whose JSON lines on stdout are handed on; all that it writes goes to its log."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.Task[None], stop_signal: signal.Signals
    ) -> None:
        self._process = process
        self._reader = reader
        self._stop_signal = stop_signal

    @classmethod
    async def start(cls, plan: ChildPlan, on_line: Callable[[Line], None]) -> Child:
        """Start the process. Raises OSError when the program is not there."""
        private_directory(plan.log.parent)
        log = plan.log.open("ab", buffering=0)
        try:
            process = await asyncio.create_subprocess_exec(
                *plan.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment(plan.environment),
                limit=LINE_LIMIT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops all in order
                preexec_fn=die_with_us(),
            )
        except OSError:
            log.close()
            raise
        return cls(process, asyncio.create_task(_read(process, log, on_line)), plan.stop_signal)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it still runs."""
        if self.is_running:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code (negative: the signal that ended it), once everything that it wrote is read."""
        code = await self._process.wait()
        await asyncio.wait([self._reader])  # unlike a plain await this does not cancel the reader with us
        self._reader.result()
        return code

    async def stop(self, grace_s: float) -> int:
        """The plan's signal, and SIGKILL after the grace time."""
        self.send(self._stop_signal)
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self._process.wait()


async def _read(process: asyncio.subprocess.Process, log: IO[bytes], on_line: Callable[[Line], None]) -> None:
    with log:
        if process.stdout is None:
            return
        async for raw in process.stdout:
            line = _parsed(raw)
            if (
                line is None or line.get("event") != "counts"
            ):  # counts come twice a second: they would fill the log
                log.write(raw)
            if line is not None:
                on_line(line)


def _parsed(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """What a child sees: the few variables that every process gets, and its own."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(added)


def die_with_us() -> Callable[[], None]:
    """To be called in a child before its program starts: the kernel kills it when the thread that made it ends."""
    parent = os.getpid()

    def in_child() -> None:
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

    return in_child
