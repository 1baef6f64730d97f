"""Commands of people: imperative, signed end to end with SSHSIG, judged at the time the log accepted them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Model, Nonce, Sequence, Time, Version, VersionOrKey
from rekey_core.names import DependentName, Digest, Environment, InstanceId, KeyName, PersonName

COMMAND_NAMESPACE: Final = "rekey-cmd@v1"  # SSHSIG namespace (DESIGN §3)
MAX_COMMAND_LIFETIME_S: Final = 600  # 10 minutes (notes: reliability §7)
MAX_COSIGNED_LIFETIME_S: Final = 4 * 3600  # a second person has to be woken first (decision 0030)
MAX_COSIGNATURES: Final = 4  # no command needs more people than five
MAX_LIFTED: Final = 64  # suspensions of one version, ever: whoever stops it more often wants another one
MAX_DESTRUCTION_DELAY_S: Final = 366 * 24 * 3600  # longer is no plan any more

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
    """A person asks for a new version. ``deadline_s``: until when everybody should hold it, if sooner than the class's."""

    VERB: ClassVar[str] = "rotate"
    type: Literal["rekey.command.rotate.v1"] = "rekey.command.rotate.v1"
    deadline_s: Annotated[int, Field(ge=1)] | None = None


class Suspend(Command):
    """A responder stops a version (0: all of the key's) until two people resume it."""

    VERB: ClassVar[str] = "suspend"
    type: Literal["rekey.command.suspend.v1"] = "rekey.command.suspend.v1"
    version: VersionOrKey


class Resume(Command):
    """Two people lift the suspensions of a version; ``seen``: the key's last fact that the author knew of.

    ``lifts``: the ids of every suspension of the version that there ever was, sorted. Whoever reads this lifts exactly
    those: a suspension that the author did not see stays, in whatever order words arrive.
    """

    VERB: ClassVar[str] = "resume"
    type: Literal["rekey.command.resume.v1"] = "rekey.command.resume.v1"
    version: Version
    seen: Sequence
    lifts: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=MAX_LIFTED)]


class Revoke(Command):
    """A responder declares a version (0: all of the key's) compromised, for good."""

    VERB: ClassVar[str] = "revoke"
    type: Literal["rekey.command.revoke.v1"] = "rekey.command.revoke.v1"
    version: VersionOrKey


class Waive(Command):
    """An owner names whom the rotation to a version need not wait for: a dependent, or one instance of it."""

    VERB: ClassVar[str] = "waive"
    type: Literal["rekey.command.waive.v1"] = "rekey.command.waive.v1"
    version: Version
    dependent: DependentName
    instance: InstanceId | None = None  # none: every instance of the dependent


class Force(Command):
    """Two people say: go on with the rotation to a version without those who are missing."""

    VERB: ClassVar[str] = "force"
    type: Literal["rekey.command.force.v1"] = "rekey.command.force.v1"
    version: Version


class Destroy(Command):
    """Two people want a version gone for good, after a delay in which that can be cancelled.

    ``delay_s``: longer than the class's, never shorter.
    """

    VERB: ClassVar[str] = "destroy"
    type: Literal["rekey.command.destroy.v1"] = "rekey.command.destroy.v1"
    version: Version
    delay_s: Annotated[int, Field(ge=1, le=MAX_DESTRUCTION_DELAY_S)] | None = None


class CancelDestruction(Command):
    """An owner takes a scheduled destruction back; ``seen``: the key's last fact that the author knew of."""

    VERB: ClassVar[str] = "destroy-cancel"
    type: Literal["rekey.command.destroy-cancel.v1"] = "rekey.command.destroy-cancel.v1"
    version: Version
    seen: Sequence


AnyCommand = Annotated[
    Register | Rotate | Suspend | Resume | Revoke | Waive | Force | Destroy | CancelDestruction,
    Field(discriminator="type"),
]
COMMANDS: Final[tuple[type[Command], ...]] = (
    Register,
    Rotate,
    Suspend,
    Resume,
    Revoke,
    Waive,
    Force,
    Destroy,
    CancelDestruction,
)
VERBS: Final = tuple(command.VERB for command in COMMANDS)

SshSig = Annotated[str, StringConstraints(max_length=8192)]


class Cosignature(Model):
    """Another person's SSHSIG over the very bytes that the author signed, in the same namespace."""

    person: PersonName
    sshsig: SshSig


class SignedCommand(Model):
    """A command as its author signed it: canonical JSON and an armored SSHSIG over exactly those bytes.

    ``cosignatures``: of the other people, where the verb needs more than its author. They are no part of the command's
    id, which is the hash of the bytes alone.
    """

    payload: Base64Url
    sshsig: SshSig
    cosignatures: Annotated[tuple[Cosignature, ...], Field(max_length=MAX_COSIGNATURES)] = ()
