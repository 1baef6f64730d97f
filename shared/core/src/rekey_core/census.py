"""Which versions lie under which KEK epoch, by the log. Pure.

Halves cannot wrap again what they have wrapped, so a version leaves an epoch only when it is destroyed, or restored under
another one. What the log has asked for and does not say is generated may lie under any epoch: a try may have stored its
record and died before it said so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.versions import VersionFacts


@dataclass(frozen=True)
class Hanging:
    """A version that has a wrapped blob, or may have one. ``epoch``: of its KEK; none as long as the log does not say."""

    key: str
    version: int
    epoch: int | None
    state: VersionState
    command: str  # what people type next so that it hangs there no longer
    since: int = 0  # sequence at which the log asked for it

    @property
    def name(self) -> str:
        """As people name it."""
        return f"{self.key}@{self.version}"

    def is_under(self, epoch: int) -> bool:
        """Whether it lies under that epoch, or may."""
        return self.epoch in (None, epoch)


def hanging(state: KeyState) -> Iterator[Hanging]:
    """Every version of a key that is not destroyed, oldest first."""
    for number, version in sorted(state.versions.items()):
        if version.destroyed is None:
            lies = version.wrapped
            epoch = lies.epoch if lies else None
            command, since = next_command(state, version), version.requested.sequence
            yield Hanging(state.key, number, epoch, version.state, command, since)


def next_command(state: KeyState, version: VersionFacts) -> str:
    """What people type next so that the version hangs under its KEK no longer."""
    key, number = state.key, version.number
    if version.pending is not None:  # it is destroyed when its delay is over
        return f"rekey key show {key}"
    if version.state is VersionState.SUSPENDED:  # neither left behind nor destroyed before somebody decides
        return f"rekey key history {key}"
    if state.in_motion() is not None and version.state in {VersionState.PRE_ACTIVATION, VersionState.ACTIVE}:
        return f"rekey adoption {key}"
    if version.state is VersionState.ACTIVE:
        return f"rekey key rotate {key}" if number == state.current else f"rekey adoption {key}"
    return f"rekey key destroy {key}@{number}"
