"""What the dependents' instances count, summed over all of them and over their restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rekey_core.validation import what_is_wrong

LOCAL: Final = ("encrypt", "decrypt", "mac", "check", "verify")
REMOTE: Final = ("sign", "seal", "open")
KINDS: Final = (*LOCAL, *REMOTE)


class Count(BaseModel):
    """Calls of one kind (see the worker)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: int = 0
    failed: int = 0
    refused: int = 0
    slowest_ms: float = 0.0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(
            done=self.done + other.done,
            failed=self.failed + other.failed,
            refused=self.refused + other.refused,
            slowest_ms=max(self.slowest_ms, other.slowest_ms),
        )


class Seen(BaseModel):
    """A version that an instance stopped, and when (Unix seconds).

    ``commanded``: when the responder signed the command that stopped it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    version: int
    at: float
    commanded: float | None = None


class InstanceReport(BaseModel):
    """One line of an instance: cumulative since its process started."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    pid: int
    current: dict[str, int | None] = {}  # what it protects with, by key
    calls: dict[str, Count]
    exchanged: dict[str, int] = {}  # done with what another instance made, by kind
    messages: dict[str, tuple[int, int]] = {}  # that it was given and has left, by key
    worked_s: float = 0.0
    stopped: tuple[Seen, ...] = ()
    first_refused: dict[str, float] = {}
    last_failure: str | None = None

    def per_s(self, kinds: Iterable[str]) -> float:
        """Calls of these kinds asked for in a second, whatever became of them."""
        asked = [self.calls[kind] for kind in kinds]
        return sum(c.done + c.failed + c.refused for c in asked) / max(self.worked_s, 1.0)


class Totals(BaseModel):
    """All instances together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: dict[str, Count]
    processes: Annotated[int, Field(ge=0)]

    @property
    def all_calls(self) -> int:
        """Calls of every kind, whatever became of them."""
        return sum(count.done + count.failed + count.refused for count in self.calls.values())

    @property
    def failed(self) -> int:
        """Calls that failed and should not have."""
        return sum(count.failed for count in self.calls.values())

    @property
    def failed_local(self) -> int:
        """Failed calls that need nobody else."""
        return sum(self.calls[kind].failed for kind in LOCAL)

    @property
    def refused(self) -> int:
        """Calls refused because a responder stopped the version."""
        return sum(count.refused for count in self.calls.values())


class Tally:
    """The newest report of each process of each instance."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, int], InstanceReport] = {}
        self._newest: dict[str, InstanceReport] = {}

    def take(self, line: Mapping[str, object]) -> None:
        """Take a ``counts`` line of an instance; others are not for us."""
        if line.get("event") != "counts":
            return
        try:
            report = InstanceReport.model_validate(line)
        except ValidationError as error:
            message = f"an instance reported something else than its counts: {what_is_wrong(error)}"
            raise ValueError(message) from None
        self._reports[report.name, report.pid] = report
        self._newest[report.name] = report

    @property
    def newest(self) -> Mapping[str, InstanceReport]:
        """By instance name, of its newest process."""
        return self._newest

    def totals(self) -> Totals:
        """The sums."""
        calls = {kind: Count() for kind in KINDS}
        for report in self._reports.values():
            for kind, count in report.calls.items():
                calls[kind] = calls[kind].plus(count)
        return Totals(calls=calls, processes=len(self._reports))

    def failures(self) -> Mapping[str, str]:
        """The last failure of each instance that had one."""
        return {r.name: r.last_failure for r in self._reports.values() if r.last_failure is not None}
