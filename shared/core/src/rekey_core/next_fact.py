"""What every fact says besides its own words, decided on one state of the key: who may say it, when, under which rules."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TypedDict

from rekey_core.contracts import Fact, event_id
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
