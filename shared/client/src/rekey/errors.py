"""What a call of the SDK can raise: rekey's own tree, and the leaves that only a dependent meets.

``UnavailableError``, ``LeaseExpiredError``, ``QuotaExhaustedError``: try again later, nothing was decided.
``RefusedError`` leaves: a rule says no.
``MalformedError`` leaves: what came is not what it says it is. Every error says in ``hint`` what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rekey_core.errors import (
    CiphertextError,
    ConfigurationError,
    ExpiredError,
    MacError,
    MalformedError,
    NotEnrolledError,
    NotFoundError,
    NotGrantedError,
    NotInstalledError,
    ProtocolTooNewError,
    ProtocolTooOldError,
    RefusedError,
    RekeyError,
    RetryableError,
    SignatureError,
    StateRefusedError,
    TrustError,
    UnavailableError,
    UsageRefusedError,
)

__all__ = [
    "CiphertextError",
    "ConfigurationError",
    "ExpiredError",
    "LeaseExpiredError",
    "MacError",
    "MalformedError",
    "NotEnrolledError",
    "NotFoundError",
    "NotGrantedError",
    "NotInstalledError",
    "ProtocolTooNewError",
    "ProtocolTooOldError",
    "QuotaExhaustedError",
    "RefusedError",
    "RekeyError",
    "RetryableError",
    "SignatureError",
    "StateRefusedError",
    "TokenError",
    "TrustError",
    "UnavailableError",
    "UnknownKeyIdError",
    "UsageRefusedError",
    "VersionCompromisedError",
    "VersionDestroyedError",
    "VersionStoppedError",
    "VersionSuspendedError",
    "refusal_error",
]


class LeaseExpiredError(RetryableError):
    """The instance could not renew its lease: it may not use the key until it does."""


class QuotaExhaustedError(RetryableError):
    """The instance has protected as many messages as it was given: no more until it is given more, or another version."""


class UnknownKeyIdError(RefusedError):
    """A ciphertext or token under a key id that this key does not have here."""


class TokenError(RefusedError):
    """A token that is not one, is of another algorithm, has expired, or was signed by somebody else."""


class VersionStoppedError(RefusedError):
    """A responder stopped the version: it neither protects nor processes."""


class VersionSuspendedError(VersionStoppedError):
    """Stopped by a responder until two people resume it."""


class VersionCompromisedError(VersionStoppedError):
    """Stopped for good."""


class VersionDestroyedError(RefusedError):
    """The version is gone for good: nobody reads its data any more."""


def _leaves(root: type[RekeyError]) -> Iterator[type[RekeyError]]:
    for leaf in root.__subclasses__():
        yield leaf
        yield from _leaves(leaf)


_BY_CODE: Final = {leaf("").code: leaf for leaf in _leaves(RekeyError)}


def refusal_error(code: str, message: str, hint: str | None, *, retry: bool) -> RekeyError:
    """The error that a signed refusal stands for; what the distributor's own trouble is, is ``UnavailableError``."""
    leaf = _BY_CODE.get(code, RefusedError)
    if retry or not issubclass(leaf, RefusedError | MalformedError):
        return UnavailableError(f"distributor: {message}", hint=hint)
    return leaf(message, hint=hint)
