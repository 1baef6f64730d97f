"""Keeps processes running: one that dies is started again, later each time, and the screen says so.

One thing is never tried again: a PIN that its token refuses. Real tokens lock after a few wrong ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from rekey_core.errors import EXIT_PIN
from rekey_local.child import Child, ChildPlan, Line
from rekey_local.errors import NotReadyError

BACK_OFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S: Final = 10.0  # a process that ran for so long starts again with the first pause
GRACE_S: Final = 10.0  # from SIGTERM to SIGKILL


class Event(StrEnum):
    """What the supervisor says about a process."""

    READY = "ready"
    NOT_READY = "not-ready"
    GIVEN_UP = "given-up"
    DIED = "died"
    KILLED = "killed"


Listener = Callable[[str, Event, str], None]
Lines = Callable[[str, Line], None]
Probe = Callable[[], Awaitable[None]]  # returns once the process serves; for programs that do not say "ready"


class Keeper:
    """One process by name, kept running until it is stopped."""

    def __init__(self, plan: ChildPlan, say: Listener, on_line: Lines, probe: Probe | None = None) -> None:
        self.plan = plan
        self._probe = probe
        self._say = say
        self._on_line = on_line
        self._child: Child | None = None
        self._ready = asyncio.Event()
        self._given_up = asyncio.Event()
        self._wavered = False
        self._by_us = False  # what ended the running process says nothing about it
        self._why = ""  # the running process's last word
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Of the running process; None between two of them."""
        return self._child.pid if self._child and self._child.is_running else None

    @property
    def is_ready(self) -> bool:
        """Whether the running process said that it is ready."""
        return self._ready.is_set() and self.pid is not None

    def start(self) -> None:
        """Start it and keep it running; nothing happens if it is."""
        if self._task is None or self._task.done():
            self._given_up.clear()
            self._task = asyncio.create_task(self._keep(), name=f"keep {self.plan.name}")

    async def ready(self, limit_s: float) -> None:
        """Wait until it is ready.

        Raises:
            NotReadyError: it is not within the limit, or is not started again; names its log.
        """
        waiting = [asyncio.create_task(event.wait()) for event in (self._ready, self._given_up)]
        try:
            await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._ready.is_set():
            return
        after = f" after {limit_s:.0f} s" if not self._given_up.is_set() else ""
        message = f"{self.plan.name} is not ready{after}{f': {self._why}' if self._why else ''}"
        raise NotReadyError(message, hint=f"read {self.plan.log}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the process itself; the keeper then starts it again, with the first pause: it did not fail."""
        self._ready.clear()
        self._by_us = True
        if self._child is not None:
            self._child.send(number)

    async def stop(self) -> None:
        """End the process for good: SIGTERM, then SIGKILL after the grace time."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._ready.clear()
        if self._child is not None and await self._child.stop(GRACE_S) == -signal.SIGKILL:
            self._say(self.plan.name, Event.KILLED, f"did not end within {GRACE_S:.0f} s")

    async def _keep(self) -> None:
        failures = 0
        while True:
            started, self._by_us = time.monotonic(), False
            code = await self._run()
            self._ready.clear()
            if code == EXIT_PIN:
                said = (
                    f"{self._ended(code)}; it is not started again, since tokens lock after a few wrong PINs"
                )
                self._say(self.plan.name, Event.GIVEN_UP, said)
                self._given_up.set()
                return
            failures = 0 if self._by_us or time.monotonic() - started > STEADY_S else failures
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            failures += 1
            self.restarts += 1
            self._say(self.plan.name, Event.DIED, f"{self._ended(code)}; starts again in {pause:g} s")
            await asyncio.sleep(pause)

    def _ended(self, code: int) -> str:
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"{how}: {self._why} (log: {self.plan.log})" if self._why else how

    async def _run(self) -> int:
        self._why = ""
        # Shielded: a stop that comes while the process is being made must still know of it.
        starting = asyncio.ensure_future(Child.start(self.plan, self._line))
        try:
            self._child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._child = await starting
            raise
        if self._probe is None:
            return await self._child.wait()
        probing = asyncio.create_task(self._await_probe(self._probe))
        try:
            return await self._child.wait()
        finally:
            probing.cancel()

    async def _await_probe(self, probe: Probe) -> None:
        await probe()
        self._line({"event": "ready"})

    def _line(self, line: Line) -> None:
        if line.get("event") == "ready":
            self._ready.set()
            again = self.restarts > 0 or self._wavered
            self._say(self.plan.name, Event.READY, "is ready again" if again else "")
        elif line.get("event") == "not-ready":
            self._ready.clear()
            self._wavered = True
            self._say(self.plan.name, Event.NOT_READY, f"is not ready: {line.get('why')}")
        elif line.get("event") == "fatal":
            self._why = str(line.get("text"))
        self._on_line(self.plan.name, line)
