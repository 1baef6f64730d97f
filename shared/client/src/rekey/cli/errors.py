"""What the command line itself may have to say, and the exit code of every error (notes of the field: §3 of its rules).

0 done · 1 failure · 2 usage · 3 not found · 4 denied by policy · 5 precondition or conflict · 6 accepted, but not
complete in time · 7 backend unreachable · 8 verification failed · 130 interrupted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from rekey_core.errors import RefusedError, RekeyError, RetryableError


class Exit(enum.IntEnum):
    """Exit codes; scripts rely on them."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    PRECONDITION = 5
    INCOMPLETE = 6
    UNREACHABLE = 7
    VERIFICATION = 8
    INTERRUPTED = 130  # 128 + SIGINT, as shells say it


class UsageError(RefusedError):
    """What was typed, or the context file, is not what the command takes."""


class NotConfirmedError(RefusedError):
    """Somebody has to say yes, and nobody did."""


class IncompleteError(RetryableError):
    """Accepted, and not everybody has followed before the time that was given."""


class AnsweredError(RekeyError):
    """A service's refusal as it was signed: its code, its line, its hint."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self._code = code

    @property
    def code(self) -> str:
        """The code that the service gave."""
        return self._code


EXITS: Final[Mapping[str, Exit]] = {
    "usage": Exit.USAGE,
    "not-confirmed": Exit.USAGE,
    "configuration": Exit.USAGE,
    "not-found": Exit.NOT_FOUND,
    "authority": Exit.DENIED,
    "not-in-scope": Exit.DENIED,
    "not-granted": Exit.DENIED,
    "usage-refused": Exit.DENIED,
    "protocol-too-old": Exit.PRECONDITION,
    "protocol-too-new": Exit.PRECONDITION,
    "not-enrolled": Exit.DENIED,
    "policy": Exit.DENIED,
    "refused": Exit.DENIED,
    "state-refused": Exit.PRECONDITION,
    "expired": Exit.PRECONDITION,
    "no-room": Exit.PRECONDITION,
    "already-exists": Exit.PRECONDITION,
    "already-done": Exit.PRECONDITION,
    "not-installed": Exit.PRECONDITION,
    "conflict": Exit.PRECONDITION,
    "undecidable-key": Exit.PRECONDITION,
    "incomplete": Exit.INCOMPLETE,
    "retryable": Exit.UNREACHABLE,
    "unknown-outcome": Exit.UNREACHABLE,
    "stale-read": Exit.UNREACHABLE,
    "unavailable": Exit.UNREACHABLE,
    "malformed": Exit.VERIFICATION,
    "schema": Exit.VERIFICATION,
    "oversized": Exit.VERIFICATION,
    "signature": Exit.VERIFICATION,
    "wrong-author": Exit.VERIFICATION,
    "unknown-type": Exit.VERIFICATION,
    "foreign-environment": Exit.VERIFICATION,
    "replayed": Exit.VERIFICATION,
    "illegal-transition": Exit.VERIFICATION,
    "check-sequence": Exit.VERIFICATION,
    "ciphertext": Exit.VERIFICATION,
    "mac": Exit.VERIFICATION,
    "record": Exit.VERIFICATION,
    "trust": Exit.VERIFICATION,
    "hsm": Exit.FAILURE,
    "pin": Exit.FAILURE,
    "fatal": Exit.FAILURE,
}


_NEXT: Final[Mapping[Exit, str]] = {
    Exit.USAGE: "rekey doctor looks at every file that the context names; --help after a command says what it takes",
    Exit.NOT_FOUND: "rekey key ls shows what there is",
    Exit.DENIED: "rekey doctor shows your roles and scopes",
    Exit.PRECONDITION: "rekey key show KEY says how things are",
    Exit.UNREACHABLE: "rekey doctor says which part does not answer",
    Exit.VERIFICATION: "believe nothing of it; rekey doctor says whether bus and trust are those of this environment",
    Exit.FAILURE: "rekey doctor says what does not work",
}


def hint_of(error: RekeyError) -> str:
    """What to do next: the error's own word, else what helps with errors of its exit code."""
    return error.hint or _NEXT.get(exit_of(error), _NEXT[Exit.FAILURE])


def exit_of(error: RekeyError) -> Exit:
    """The exit code of an error; a code that this version does not know is a failure."""
    return EXITS.get(error.code, Exit.FAILURE)
