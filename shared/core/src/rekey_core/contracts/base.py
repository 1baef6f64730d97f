"""What every message has in common: frozen, complete, nothing unknown inside.

Unknown fields are refused everywhere: a message is signed as a whole, so a field that a reader does not
understand is a statement that it would ignore. A new field therefore is a new major version of the type.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Annotated, ClassVar, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from rekey_core.names import DependentName, Environment, InstanceId

MAX_MESSAGE_BYTES: Final = 64 * 1024  # one fact, command, receipt or request (DESIGN §3)
MAX_NOTICE_BYTES: Final = 256 * 1024  # a notice names every version to hold: some 60 bytes each

Base64Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]*$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]  # 128 random bits
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
VersionOrKey = Annotated[int, Field(ge=0, le=2**31 - 1)]  # 0: the key itself
Sequence = Annotated[int, Field(ge=0)]  # stream sequence; 0: nothing was there
Time = AwareDatetime


def is_empty(value: Sized) -> bool:
    """For ``exclude_if``: a field that says nothing is not there, so who does not know it reads the message all the same."""
    return not value


class Model(BaseModel):
    """A value that crosses a process boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)


class Message(Model):
    """A model that is signed as a whole; ``type`` names it and its major version on the wire."""

    TYPE: ClassVar[str]
    type: str


class Signed(Model):
    """A message with its signature, embedded in another one (DSSE: the payload as it was signed)."""

    type: str
    payload: Base64Url
    key_id: str
    signature: Base64Url


class Endorsement(Model):
    """A dependent's signing key says: this instance key is one of mine (DESIGN §2)."""

    env: Environment
    dependent: DependentName
    instance: InstanceId
    instance_key: Base64Url  # raw Ed25519 public key, 32 bytes
    issued_at: Time
    signature: Base64Url  # over endorsement_bytes() under payload type ENDORSEMENT_TYPE
