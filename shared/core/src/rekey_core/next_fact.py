"""What holds of every fact, decided on one state of the key: whether there may be one, who says it, when, by which rules."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TypedDict

from rekey_core.commands import command_id
from rekey_core.contracts import Fact, SignedCommand, event_id
from rekey_core.errors import AlreadyDoneError, NotFoundError, UndecidableKeyError
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST


class NextFact(TypedDict):
    """The fields of ``Fact``."""

    id: uuid.UUID
    env: str
    key: str
    version: int
    author: Service
    checked: int
    cause: str
    policy: str
    at: datetime


def next_fact(
    state: KeyState, kind: type[Fact], cause: str, version: int, now: datetime, *, ordinal: int = 0
) -> NextFact:
    """The fields that a fact of this kind has as the next one of the key: ``Granted(**next_fact(...), dependent=...)``.

    ``version``: 0 is the key itself. ``ordinal``: which of several facts of one kind the cause leads to.
    """
    return {
        "id": event_id(cause, kind.TYPE, state.env, state.key, version, ordinal),
        "env": state.env,
        "key": state.key,
        "version": version,
        "author": kind.AUTHOR,
        "checked": state.last_sequence,
        "cause": cause,
        "policy": POLICY_DIGEST,
        "at": now,
    }


def new_cause(state: KeyState, signed: SignedCommand) -> str:
    """The id of a command about a registered key, if the log does not name it yet.

    Raises:
        AlreadyDoneError: it does.
        NotFoundError: no such key.
    """
    cause = command_id(signed)
    if cause in state.causes:
        message = f"{state.key}: command {cause[:16]} is done"
        raise AlreadyDoneError(message)
    if state.registered is None:
        message = f"key {state.key} is not registered"
        raise NotFoundError(message, hint="rekey key ls")
    return cause


def check_decidable(state: KeyState) -> None:
    """Return if everything that the log says of the key was understood.

    Raises:
        UndecidableKeyError: it has a fact that this program does not know.
    """
    if state.undecidable:
        message = f"{state.key}: {state.undecidable}"
        raise UndecidableKeyError(message)
