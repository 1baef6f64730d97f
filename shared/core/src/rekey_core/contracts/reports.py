"""Refusals, alerts and records of drills: what a person waits for, what an operator must see. They decide nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from rekey_core.contracts.attestations import Attested
from rekey_core.contracts.base import Message, Sequence, Time
from rekey_core.contracts.facts import Cause
from rekey_core.names import Environment, Service

Line = Annotated[str, StringConstraints(max_length=2000)]


class Refusal(Message):
    """A command that a service refused, and why."""

    TYPE: ClassVar[str] = "rekey.report.refusal.v1"
    type: Literal["rekey.report.refusal.v1"] = "rekey.report.refusal.v1"
    env: Environment
    author: Service
    cause: Cause  # id of the command or fact
    subject: str
    code: str
    message: Line
    hint: Line | None
    at: Time


class Alert(Message):
    """Something that must not be was seen; where and what."""

    TYPE: ClassVar[str] = "rekey.report.alert.v1"
    type: Literal["rekey.report.alert.v1"] = "rekey.report.alert.v1"
    env: Environment
    author: Service
    subject: str
    stream: str
    sequence: Sequence
    code: str
    message: Line
    at: Time


REPORTS = (Refusal, Alert, Attested)
