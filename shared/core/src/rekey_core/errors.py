"""Every error of rekey, one tree; the branch decides what becomes of the message that caused it.

    RekeyError
    ├── RetryableError          delayed nak: the world may change, nothing was decided
    │   ├── UnknownOutcomeError     a write whose fate is not known yet
    │   ├── StaleReadError          what was read is not what the leader has
    │   ├── ConflictError           somebody else appended first; fold again
    │   ├── UnavailableError        bus, HSM or another service does not answer
    │   └── UndecidableKeyError     a valid fact of the key that this program does not know
    ├── RefusedError            recorded as a refusal, then terminated: the rule says no
    │   ├── AuthorityError          the signer may not do this
    │   ├── NotInScopeError         another owner's key
    │   ├── NotGrantedError         this dependent does not have this key
    │   ├── StateRefusedError       the version's state forbids it
    │   ├── ExpiredError            command or request is past its time
    │   ├── NotFoundError           there is no such key or version
    │   ├── AlreadyExistsError      a key of this name is registered
    │   ├── NotInstalledError       a lease was asked without proof of every version to hold
    │   ├── UsageRefusedError       the operation is not what the key is for
    │   ├── CiphertextError         not a ciphertext of this key and associated data
    │   ├── MacError                not a MAC of this key over this data
    │   ├── ProtocolTooOldError     the application's rekey is too old for this distributor
    │   ├── ProtocolTooNewError     this distributor is too old for the application's rekey
    │   ├── NotEnrolledError        the dependent's transport key is not trusted in the HSM
    │   ├── NoRoomError             the stream has only room left for what must not wait
    │   └── PolicyError             the class's policy does not allow it
    ├── MalformedError          set aside with an alarm, then terminated: not a message of ours
    │   ├── SchemaError             not the model that its type names
    │   ├── OversizedError          larger than its stream allows
    │   ├── SignatureError          missing or wrong signature
    │   ├── WrongAuthorError        signed by somebody whose subject this is not
    │   ├── UnknownTypeError        a type or major version that does not exist
    │   ├── ForeignEnvironmentError made for another environment
    │   ├── ReplayedError           made for another place or used before
    │   ├── IllegalTransitionError  a fact that the lifecycle does not allow
    │   ├── CheckSequenceError      a fact that did not see the fact before it
    │   └── RecordError             a wrapped version or its MAC does not verify in the HSM
    ├── AlreadyDoneError        acknowledged: the effect exists
    └── FatalError              the process ends and its supervisor starts it again
        ├── ConfigurationError      settings, permissions or streams differ from what was founded
        ├── TrustError              the trust documents do not chain to the pinned genesis
        └── HsmError                the token is gone, locked or not the one that was founded
            └── PinError                the token refuses the PIN: the process ends and is not started again

Names end in ``Error``; a misuse by our own code is a built-in exception, never one of these.
"""

from __future__ import annotations

import enum
import re
from typing import ClassVar, Final

EXIT_FATAL: Final = 70  # EX_SOFTWARE of sysexits.h: a process ends so that its supervisor starts it again
EXIT_PIN: Final = 77  # EX_NOPERM of sysexits.h: a supervisor must not start it again


class Verdict(enum.StrEnum):
    """What the bus does with the message that raised the error."""

    RETRY = "retry"
    REFUSE = "refuse"
    SET_ASIDE = "set-aside"
    DONE = "done"
    EXIT = "exit"


class RekeyError(Exception):
    """The root. ``str()`` is one line without secrets; ``hint`` names the next command or step."""

    verdict: ClassVar[Verdict] = Verdict.RETRY

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable name on the wire: ``NotInScopeError`` is ``not-in-scope``."""
        return code_of(type(self))


class RetryableError(RekeyError):
    """Try again later; nothing was decided."""

    verdict = Verdict.RETRY


class UnknownOutcomeError(RetryableError):
    """A write timed out or collided: read back and compare before trying again."""


class StaleReadError(RetryableError):
    """The leader has a newer message than the one that was folded."""


class ConflictError(RetryableError):
    """The checked sequence is no longer the last one of the key."""


class UnavailableError(RetryableError):
    """A part that is needed does not answer."""


class UndecidableKeyError(RetryableError):
    """The key has a validly signed fact of an unknown type or major version."""


class RefusedError(RekeyError):
    """A rule says no."""

    verdict = Verdict.REFUSE


class AuthorityError(RefusedError):
    """The signer has no role, scope or quorum for this."""


class NotInScopeError(RefusedError):
    """The key belongs to somebody else."""


class NotGrantedError(RefusedError):
    """The dependent has no grant for the key."""


class StateRefusedError(RefusedError):
    """The state of the key or version forbids the operation."""


class ExpiredError(RefusedError):
    """Signed too long ago."""


class NotFoundError(RefusedError):
    """No such key, version or object."""


class AlreadyExistsError(RefusedError):
    """The name is taken."""


class NotInstalledError(RefusedError):
    """A lease needs proof of every version that the instance should hold."""


class UsageRefusedError(RefusedError):
    """The operation is not what the key or class is for."""


class CiphertextError(RefusedError):
    """Another format, another key, altered, or made with other associated data."""


class MacError(RefusedError):
    """Another format, another key, altered, or made over other data."""


class ProtocolTooOldError(RefusedError):
    """The asker speaks an older protocol than is answered."""


class ProtocolTooNewError(RefusedError):
    """The asker speaks a newer protocol than is known."""


class NotEnrolledError(RefusedError):
    """The HSM holds no trusted transport key of this dependent and hash."""


class NoRoomError(RefusedError):
    """What is left of the stream belongs to revocation."""


class PolicyError(RefusedError):
    """The policy of the key's class does not allow it."""


class MalformedError(RekeyError):
    """Not a message of ours."""

    verdict = Verdict.SET_ASIDE


class SchemaError(MalformedError):
    """The body is not the model that its type names."""


class OversizedError(MalformedError):
    """The body is larger than the limit."""


class SignatureError(MalformedError):
    """The signature is missing, of an unknown key, or wrong."""


class WrongAuthorError(MalformedError):
    """The signer is not the author that the subject names."""


class UnknownTypeError(MalformedError):
    """The type or its major version is not known."""


class ForeignEnvironmentError(MalformedError):
    """Made for another environment."""


class ReplayedError(MalformedError):
    """Made for another subject or place in the log."""


class IllegalTransitionError(MalformedError):
    """The lifecycle has no such row."""


class CheckSequenceError(MalformedError):
    """The fact was decided without the fact before it."""


class RecordError(MalformedError):
    """The wrapped version, or the record MAC over it, does not verify inside the HSM."""


class AlreadyDoneError(RekeyError):
    """The effect is there already."""

    verdict = Verdict.DONE


class FatalError(RekeyError):
    """Going on would be wrong; the process ends."""

    verdict = Verdict.EXIT


class ConfigurationError(FatalError):
    """Effective configuration and founded configuration differ."""


class TrustError(FatalError):
    """The chain of trust documents is broken."""


class HsmError(FatalError):
    """The HSM cannot be used as founded."""


class PinError(HsmError):
    """The token refuses the PIN; nobody may try it again by himself, since tokens lock after a few wrong ones."""


def code_of(kind: type[RekeyError]) -> str:
    """The stable name of a kind of error."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()


def codes(root: type[RekeyError] = RekeyError) -> frozenset[str]:
    """The names of every kind in the tree above, which is closed: kinds of other modules are not in it."""
    below = (codes(kind) for kind in root.__subclasses__() if kind.__module__ == __name__)
    return frozenset({code_of(root)}).union(*below)
