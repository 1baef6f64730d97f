"""Commands of people: imperative, signed end to end with SSHSIG, judged at the time the log accepted them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Model, Nonce, Time, VersionOrKey
from rekey_core.names import DependentName, Environment, KeyName, PersonName

COMMAND_NAMESPACE: Final = "rekey-cmd@v1"  # SSHSIG namespace (DESIGN §3)
MAX_COMMAND_LIFETIME_S: Final = 600  # 10 minutes (notes: reliability §7)

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Command(Model):
    """What every command says. ``author_seq`` rises with each command of the author (its clock in nanoseconds)."""

    VERB: ClassVar[str]
    env: Environment
    key: KeyName
    author: PersonName
    nonce: Nonce
    author_seq: Annotated[int, Field(ge=0)]
    issued_at: Time
    expires_at: Time
    reason: Reason


class Register(Command):
    """An owner registers a key, its class and the dependents that may have it."""

    VERB: ClassVar[str] = "register"
    type: Literal["rekey.command.register.v1"] = "rekey.command.register.v1"
    key_class: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    purpose: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    dependents: Annotated[tuple[DependentName, ...], Field(min_length=1, max_length=200)]
    cryptoperiod_s: Annotated[int, Field(ge=1)] | None = None  # shorter than the class's, never longer


class Rotate(Command):
    """A person asks for a new version."""

    VERB: ClassVar[str] = "rotate"
    type: Literal["rekey.command.rotate.v1"] = "rekey.command.rotate.v1"


class Suspend(Command):
    """A responder stops a version (0: all of the key's) until it is resumed."""

    VERB: ClassVar[str] = "suspend"
    type: Literal["rekey.command.suspend.v1"] = "rekey.command.suspend.v1"
    version: VersionOrKey


class Revoke(Command):
    """A responder declares a version (0: all of the key's) compromised, for good."""

    VERB: ClassVar[str] = "revoke"
    type: Literal["rekey.command.revoke.v1"] = "rekey.command.revoke.v1"
    version: VersionOrKey


AnyCommand = Annotated[Register | Rotate | Suspend | Revoke, Field(discriminator="type")]
COMMANDS: Final[tuple[type[Command], ...]] = (Register, Rotate, Suspend, Revoke)
VERBS: Final = tuple(command.VERB for command in COMMANDS)


class SignedCommand(Model):
    """A command as its author signed it: canonical JSON and an armored SSHSIG over exactly those bytes."""

    payload: Base64Url
    sshsig: Annotated[str, StringConstraints(max_length=8192)]
