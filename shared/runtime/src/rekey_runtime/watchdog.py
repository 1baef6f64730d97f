"""Looks at every part of readiness again and again, and keeps what it found (DESIGN §4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.errors import FatalError, RekeyError, UnavailableError
from rekey_runtime.bus import Bus
from rekey_runtime.founded import Founded
from rekey_runtime.health import Check, Health
from rekey_runtime.progress import Progress, Sample

ROUND_S: Final = 20.0  # the longest that a round may take: each question to the bus has request_timeout_s

Job = Callable[[], Awaitable[None]]


@dataclass
class Watchdog:
    """The checks of one service. A part that fails does not keep the others from being looked at."""

    bus: Bus
    health: Health
    founded: Founded
    parts: list[tuple[Check, Job]]
    _progress: dict[str, Progress] = field(default_factory=dict)

    async def round(self) -> FatalError | None:
        """Look at everything once; what ends the process, if something does."""
        fatal = None
        for check, job in ((Check.CONSUMERS, self._consumers), *self.parts):
            error: RekeyError | None = None
            try:
                await job()
            except RekeyError as found:
                error = found
            if check is not Check.CONSUMERS or error is not None:
                self.health.note(check, error)
            if isinstance(error, FatalError):
                fatal = fatal or error
        self._work()
        self.health.looked()
        return fatal

    async def _consumers(self) -> None:
        now = datetime.now(UTC)
        problem: tuple[str, datetime] | None = None
        for name, sample in (await self.founded.watch()).items():
            self.bus.metrics.consumer(name, sample.pending, sample.unacknowledged)
            found = self._moved(name, sample, now).problem(now, self.bus.settings.stuck_s)
            if found is not None:
                problem = problem or (f"{name}: {found[0]}", found[1])
        error = UnavailableError(problem[0]) if problem else None
        self.health.note(Check.CONSUMERS, error, problem[1] if problem else None)

    def _moved(self, name: str, sample: Sample, now: datetime) -> Progress:
        before = self._progress.get(name)
        self._progress[name] = before.then(sample, now) if before else Progress.begin(sample, now)
        return self._progress[name]

    def _work(self) -> None:
        stuck = self.bus.at_work.stuck(self.bus.settings.stuck_s)
        error = UnavailableError(f"{stuck[0]} has not ended") if stuck else None
        self.health.note(Check.WORK, error, stuck[1] if stuck else None)
