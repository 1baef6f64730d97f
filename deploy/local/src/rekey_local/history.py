"""A key as the command line shows it, and what its history says about rotations and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from rekey_core.contracts import HistoryEntry, KeySummary

_ENTRIES = TypeAdapter(tuple[HistoryEntry, ...])

_PHASES = (  # event of the version n or n-1: what was waited for
    ("generated", 0, "made in the HSM, wrapped and stored"),
    ("activated", 0, "every instance proved that it holds it"),
    ("deactivated", -1, "every instance protects with it alone"),
)


@dataclass(frozen=True)
class KeyState:
    """One key: its current version, and each version's state and Tink key id."""

    key: str
    current: int | None
    states: Mapping[int, str]
    key_ids: Mapping[int, int | None]

    def key_id(self, version: int) -> str:
        """The id in the ciphertexts of a version: four bytes, hex."""
        return f"{self.key_ids[version] or 0:08x}"


@dataclass(frozen=True)
class History:
    """The facts of one key, oldest first."""

    entries: tuple[HistoryEntry, ...]

    @property
    def newest_version(self) -> int:
        """The highest version that any fact speaks of."""
        return max(entry.version for entry in self.entries)

    def has(self, event: str, version: int) -> bool:
        """Whether the fact is there."""
        return self._at(event, version) is not None

    def command_at(self, event: str, version: int) -> float | None:
        """When a person's command became this fact (Unix seconds)."""
        return self._at(event, version)

    def phases(self, version: int) -> list[tuple[str, float]]:
        """Each phase of the rotation to a version, in seconds."""
        found: list[tuple[str, float]] = []
        before = self._at("rotation-requested", version)
        for event, offset, words in _PHASES:
            at = self._at(event, version + offset)
            if at is None or before is None:
                break
            found.append((f"{event}: {words}", at - before))
            before = at
        return found

    def rotation_s(self, version: int) -> float:
        """From the request to the end of the old version."""
        return sum(seconds for _, seconds in self.phases(version))

    def lines(self) -> list[str]:
        """One line for each fact: when, which version, what, who."""
        return [_line(entry) for entry in self.entries]

    def _at(self, event: str, version: int) -> float | None:
        valid = (entry for entry in self.entries if entry.void is None)
        times = [e.at.timestamp() for e in valid if (e.event, e.version) == (event, version)]
        return min(times) if times else None


def _line(entry: HistoryEntry) -> str:
    version = f"v{entry.version}" if entry.version else "key"
    person = f"on the word of {entry.person}" if entry.person else ""
    return (
        f"{entry.at:%H:%M:%S.%f}"[:12]
        + f"  {version:<4} {entry.event:<20} {entry.author:<18} {person}".rstrip()
    )


def key_state(shown: object) -> KeyState:
    """From the JSON of ``rekey key show``. Raises pydantic.ValidationError when it is something else."""
    summary = KeySummary.model_validate(shown)
    versions = summary.versions
    return KeyState(
        key=summary.key,
        current=summary.current,
        states={version.version: version.state for version in versions},
        key_ids={version.version: version.key_id for version in versions},
    )


def history(shown: object) -> History:
    """From the JSON of ``rekey key history``. Raises pydantic.ValidationError when it is something else."""
    return History(_ENTRIES.validate_python(shown))
