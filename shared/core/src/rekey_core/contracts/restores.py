"""A version on its way back from its backup: offered to the generator, which stores the record and says ``restored``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rekey_core.contracts.attestations import OfficersSigned
from rekey_core.contracts.base import Base64Url, Message, Version
from rekey_core.names import Environment, KeyName


class RestoreOffer(Message):
    """One version, wrapped by the offline token for the fresh distributor's.

    Nobody needs to sign it: ``order`` is its authority, ``mac`` ties the blob to its version, and the log says which
    versions there are. The same offer made again is the same message.
    """

    TYPE: ClassVar[str] = "rekey.restore.offer.v1"
    type: Literal["rekey.restore.offer.v1"] = "rekey.restore.offer.v1"
    env: Environment
    key: KeyName
    version: Version
    epoch: Annotated[int, Field(ge=1)]
    blob: Base64Url  # wrapped under the epoch's KEK
    mac: Base64Url  # record MAC under the epoch's MAC key; only the fresh distributor's token can check it
    order: OfficersSigned


class RestoreAnswer(Message):
    """What became of an offer; signed by the generator. The log is the proof: this only says why there is none.

    ``code``: none, if the version is restored, now or before. ``retry``: nothing was decided.
    """

    TYPE: ClassVar[str] = "rekey.answer.restore.v1"
    type: Literal["rekey.answer.restore.v1"] = "rekey.answer.restore.v1"
    env: Environment
    key: KeyName
    version: Version
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    retry: bool = False
