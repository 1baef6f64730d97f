"""What stands on which subject, and how: the column of the authority table that only the published contract needs."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from rekey_core.contracts import (
    ANSWERS,
    ASK_ANSWERS,
    COMMANDS,
    FACTS,
    REPORTS,
    REQUESTS,
    Ask,
    AttestationAnswer,
    AttestationOffer,
    BackupRecord,
    Delivered,
    Lease,
    MaterialRecord,
    Model,
    Notice,
    QuotaLedger,
    Receipt,
    RestoreAnswer,
    RestoreOffer,
    Stop,
    TrustDocument,
)


class Wire(enum.StrEnum):
    """How a message stands on the wire.

    ``EVENT``: CloudEvents in binary mode, the signature in its headers. ``SIGNED``, ``COMMAND``, ``TRUST``: JSON of
    ``contracts.Signed``, ``SignedCommand``, ``SignedTrust`` around the message. ``PLAIN``: JSON of the message itself.
    """

    EVENT = "event"
    SIGNED = "signed"
    COMMAND = "command"
    TRUST = "trust"
    PLAIN = "plain"


@dataclass(frozen=True)
class Carries:
    """What stands on the subjects of one kind: ``address`` with its places filled in. ``answers``: to core requests."""

    address: str
    wire: Wire
    messages: tuple[type[Model], ...]
    answers: tuple[type[Model], ...] = ()


CARRIES: Final[tuple[Carries, ...]] = (
    Carries("evt.{env}.{key}.{version}.{service}.{event}.{n}", Wire.EVENT, FACTS),
    Carries("dlv.{env}.{key}.{version}.{n}", Wire.EVENT, (Delivered,)),
    Carries("cmd.{verb}.{env}.{key}.{n}", Wire.COMMAND, COMMANDS),
    Carries("mat.{env}.{key}.{version}", Wire.EVENT, (MaterialRecord,)),
    Carries("bak.{env}.{key}.{version}", Wire.EVENT, (BackupRecord,)),
    Carries("lse.{env}.{dependent}.{instance}", Wire.EVENT, (Lease,)),
    Carries("qta.{env}.{key}.{version}", Wire.EVENT, (QuotaLedger,)),
    Carries("ntc.{env}.{dependent}.{key}", Wire.EVENT, (Notice,)),
    Carries("stop.{env}.{dependent}.{key}", Wire.EVENT, (Stop,)),
    Carries("rcpt.{env}.{dependent}.{instance}", Wire.EVENT, (Receipt,)),
    Carries("rpt.{env}.{service}.{kind}.{n}", Wire.EVENT, REPORTS),
    Carries("trust.{env}.{n}", Wire.TRUST, (TrustDocument,)),
    Carries("req.{env}.{dependent}.{instance}.{op}", Wire.SIGNED, REQUESTS, ANSWERS),
    Carries("ask.{env}.{person}.{verb}", Wire.PLAIN, (Ask,), ASK_ANSWERS),
    Carries("rst.{env}.{key}.{version}", Wire.PLAIN, (RestoreOffer,), (RestoreAnswer,)),
    Carries("att.{env}.{n}", Wire.PLAIN, (AttestationOffer,), (AttestationAnswer,)),
)
