"""The emergency lane: verified suspend and revoke commands, effective here before any fact says so (DESIGN §3).

An entry is needed until the log names the command as a cause; from then on the log's state is the truth. Entries are
never lifted by anything else: whoever wants to lift a stop needs a fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekey_core.commands import command_id
from rekey_core.contracts import Revoke, SignedCommand, StoppedVersion, Suspend
from rekey_core.fold import KeyState


@dataclass
class Emergencies:
    """Commands by key and command id."""

    _by_key: dict[str, dict[str, StoppedVersion]] = field(default_factory=dict)

    def add(self, command: Suspend | Revoke, signed: SignedCommand) -> None:
        """Remember a command whose signature, role and scope were verified."""
        entry = StoppedVersion(version=command.version, command=signed)
        self._by_key.setdefault(command.key, {})[command_id(signed)] = entry

    def open(self, state: KeyState) -> tuple[StoppedVersion, ...]:
        """The commands of the key that no fact names yet."""
        entries = self._by_key.get(state.key, {})
        return tuple(entry for name, entry in sorted(entries.items()) if name not in state.causes)

    def denied(self, state: KeyState) -> frozenset[int]:
        """The versions that those commands stop (0 in a command: every version)."""
        stopped = {entry.version for entry in self.open(state)}
        return frozenset(state.versions) if 0 in stopped else frozenset(stopped)
