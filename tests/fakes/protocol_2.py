"""What applications of protocol 2 read: models refuse what they do not know, so nothing new may stand in their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

import rekey.requests
from rekey_core.contracts import Answer, KeyRefusal, LeasedKey


class LeaseAnswerOfProtocol2(Answer):
    """The lease as it was answered before keys were refused one by one."""

    TYPE: ClassVar[str] = "rekey.answer.lease.v1"
    type: str = TYPE
    keys: dict[str, LeasedKey]
    refused: ClassVar[
        Mapping[str, KeyRefusal]
    ] = {}  # for who goes on with it here; in the message it is unknown


def speaks_protocol_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the SDK asks as those do that were not brought up to date yet, and reads what they read."""
    monkeypatch.setattr(rekey.requests, "PROTOCOL", 2)
    monkeypatch.setattr(rekey.requests, "LeaseAnswer", LeaseAnswerOfProtocol2)
