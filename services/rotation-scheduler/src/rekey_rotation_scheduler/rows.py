"""What the database says of a key: where its adoption stands, as far as the log tells. Pure.

Rows say which keys are worth a look after a start. What is done about a key is decided on its facts alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from rekey_core.contracts import Count
from rekey_core.contracts.base import Model, Sequence, Time, Version
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.names import KeyName
from rekey_core.versions import VersionFacts
from rekey_rotation_scheduler import planner
from rekey_runtime.database import Row

LOOKS: Final = 20  # quiet keys looked at per tick, whatever their rows say; one takes some milliseconds
VERSION: Final = 1  # of what a row says; raised when it says something else of the same facts


class VersionAdoption(Model):
    """A version that a rotation still concerns, and who was counted at each step."""

    version: Version
    state: VersionState
    since: Time
    deadline: Time
    installed: tuple[Count, ...] | None  # who had proved it when it was activated; none: it was not
    switched: tuple[Count, ...] | None  # who had left it when it was deactivated


class KeyAdoption(Model):
    """A key: what is current, what is under way, when the next rotation is due."""

    key: KeyName
    as_of: Sequence
    registered: bool
    current: Version | None
    unfinished: tuple[Version, ...]
    rotates_by: Time | None
    versions: tuple[VersionAdoption, ...]


def adoption_row(state: KeyState) -> Row:
    """The row of a key."""
    unfinished = planner.unfinished(state)
    shown = sorted({*unfinished, *([state.current] if state.current is not None else ())})
    body = KeyAdoption(
        key=state.key,
        as_of=state.last_sequence,
        registered=state.is_registered,
        current=state.current,
        unfinished=tuple(unfinished),
        rotates_by=state.rotates_by(),
        versions=tuple(_version(state.versions[number]) for number in shown),
    )
    return Row(state.key, state.last_sequence, body.model_dump_json())


@dataclass
class Quiet:
    """Keys not looked at since the start, and when time alone gives each something to do."""

    until: dict[str, datetime | None] = field(default_factory=dict)

    @classmethod
    def by(cls, rows: Iterable[Row], now: datetime) -> Quiet:
        """The keys that need no look now; a row that is none says nothing."""
        found: dict[str, datetime | None] = {}
        for row in rows:
            try:
                body = KeyAdoption.model_validate_json(row.body)
            except ValidationError:
                continue
            is_due = body.rotates_by is not None and body.rotates_by <= now
            if body.registered and not body.unfinished and not is_due:
                found[row.key] = body.rotates_by
        return cls(found)

    def __contains__(self, key: str) -> bool:
        return key in self.until

    def leave(self, key: str) -> None:
        """Somebody looks at it."""
        self.until.pop(key, None)

    def next(self, now: datetime) -> list[str]:
        """The keys to look at now: those whose time has come, and the first ``LOOKS`` of the others."""
        due = [key for key, until in self.until.items() if until is not None and until <= now]
        return due + [key for key in self.until if key not in due][:LOOKS]


def _version(version: VersionFacts) -> VersionAdoption:
    return VersionAdoption(
        version=version.number,
        state=version.state,
        since=version.state_since,
        deadline=version.requested.model.deadline,
        installed=version.activated.model.proved if version.activated else None,
        switched=version.deactivated.model.proved if version.deactivated else None,
    )
