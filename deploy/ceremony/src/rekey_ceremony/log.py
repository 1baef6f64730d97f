"""The log as ``python -m rekey_backup log`` writes it: complete when it was read, and asked for with a word.

Whoever wrote the file is believed for one thing: that it leaves nothing out. Every fact in it is verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rekey_core.bundles import End, Line, bundle_of, message_of
from rekey_core.errors import SchemaError
from rekey_core.fold import KeyState


@dataclass(frozen=True)
class CompleteLog:
    """Every key as the log has it, and the word that the log was asked for with."""

    states: tuple[KeyState, ...]
    challenge: str

    @property
    def as_of(self) -> int:
        """The sequence of the newest fact."""
        return max((state.last_sequence for state in self.states), default=0)


def read_log(path: Path, genesis: str, env: str) -> CompleteLog:
    """Read and verify the file.

    Raises:
        SchemaError: it is not such a file, or was cut short.
        TrustError: its trust documents do not chain from the genesis.
        OSError: there is no such file.
    """
    *lines, last = path.read_text(encoding="utf-8").splitlines() or [""]
    try:
        end, messages = End.model_validate_json(last), [Line.model_validate_json(line) for line in lines]
    except ValidationError:
        raise SchemaError(f"{path.name}: expected messages and an end, found something else") from None
    if end.messages != len(messages):
        raise SchemaError(f"{path.name}: expected {end.messages} messages, found {len(messages)}")
    bundle = bundle_of(map(message_of, messages))
    trust = bundle.verified_trust(genesis, env)
    return CompleteLog(tuple(bundle.states(trust)), end.challenge)
