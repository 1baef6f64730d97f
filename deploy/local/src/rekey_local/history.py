"""What the history of a key says about rotations."""

from __future__ import annotations

from dataclasses import dataclass

from rekey_core.contracts import HistoryEntry

_PHASES = (  # event of the version n or n-1: what was waited for
    ("generated", 0, "made in the HSM, wrapped and stored"),
    ("activated", 0, "every instance proved that it holds it"),
    ("deactivated", -1, "every instance protects with it alone"),
)


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
