"""The emergency lane: verified suspend and revoke commands, effective here before any fact says so (DESIGN §3).

A command stops versions that were requested before the log took it, and no later one: a command that revocation refuses
(there is nothing to stop, no such version) never becomes a fact, and must not stop the versions that replace the others.

An entry is needed until the log names the command as a cause; from then on the log's state is the truth, its ``resumed``
too. Entries are never lifted by anything else: whoever wants to lift a stop needs a fact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from rekey_core.commands import command_id
from rekey_core.contracts import Revoke, SignedCommand, StoppedVersion, Suspend
from rekey_core.fold import KeyState


@dataclass(frozen=True)
class _Entry:
    version: int  # 0: every version
    signed: SignedCommand
    stored_at: datetime

    def stops(self, state: KeyState) -> Iterable[StoppedVersion]:
        for number, version in sorted(state.versions.items()):
            if self.version in (0, number) and version.requested.stored_at <= self.stored_at:
                yield StoppedVersion(version=number, command=self.signed)


@dataclass
class Emergencies:
    """Commands by key and command id."""

    _by_key: dict[str, dict[str, _Entry]] = field(default_factory=dict)

    def add(self, command: Suspend | Revoke, signed: SignedCommand, stored_at: datetime) -> None:
        """Remember a command whose signature, role and scope were verified, and when the log took it."""
        entry = _Entry(command.version, signed, stored_at)
        self._by_key.setdefault(command.key, {})[command_id(signed)] = entry

    def open(self, state: KeyState) -> tuple[StoppedVersion, ...]:
        """What the commands of the key stop that no fact names yet, version by version."""
        entries = sorted(self._by_key.get(state.key, {}).items())
        return tuple(
            stopped
            for name, entry in entries
            if not state.has_stopped(name)
            for stopped in entry.stops(state)
        )

    def denied(self, state: KeyState) -> frozenset[int]:
        """The versions that those commands stop."""
        return frozenset(stopped.version for stopped in self.open(state))
