"""What audit knows of drills: the newest attestation, and until when the next is due. Pure.

An environment has as long for its first drill, from its first backup on, as an attestation holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from rekey_core.contracts import ATTESTATION_LIFETIME
from rekey_core.drilled import Drill

OVERDUE: Final = "drill-overdue"
FAILED: Final = "drill-failed"

Status = Literal["proved", "never-drilled", "overdue", "failed"]


@dataclass(frozen=True)
class Drills:
    """The newest drill, if there was one, and when the log took the first backup, if there is one."""

    newest: Drill | None = None
    first_backup: datetime | None = None

    @property
    def due(self) -> datetime | None:
        """From when on the backups count as not proved; none: there are none."""
        if self.newest is not None:
            return self.newest.found.expires_at if self.newest.found.is_passed else self.newest.found.at
        return self.first_backup + ATTESTATION_LIFETIME if self.first_backup else None

    def status(self, now: datetime) -> Status:
        """How the environment stands."""
        if self.newest is not None and not self.newest.found.is_passed:
            return "failed"
        if self.due is not None and now >= self.due:
            return "overdue"
        return "proved" if self.newest else "never-drilled"

    def complaint(self, now: datetime) -> tuple[str, str] | None:
        """Code and text of the alarm that there must be, if there must be one."""
        match self.status(now):
            case "failed" if self.newest is not None:
                found = self.newest.found
                wrong = len(found.failures) + found.more_failures
                return (
                    FAILED,
                    f"the drill of {found.at} restored {found.restored} of {found.checked}, {wrong} are wrong",
                )
            case "overdue":
                last = (
                    f"the last drill was at {self.newest.found.at}"
                    if self.newest
                    else "no restore was ever tried"
                )
                return OVERDUE, f"{last}; a drill was due by {self.due}"
        return None


def newer(one: Drill | None, other: Drill) -> Drill:
    """Of two drills the later one: what counts is when it was, not when it was recorded."""
    return other if one is None or other.found.at > one.found.at else one
