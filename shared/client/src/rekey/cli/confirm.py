"""Somebody has to mean it: a typed confirmation at a terminal, ``--yes`` anywhere else. Never a prompt in a pipe."""

from __future__ import annotations

import signal
import sys

from rekey.cli.errors import NotConfirmedError
from rekey.cli.target import Target


def is_interactive() -> bool:
    """Whether a person can be asked and can read what is asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def need_yes(
    verb: str, *, yes: bool, hint: str = "--plan shows what would happen and changes nothing"
) -> None:
    """Without a terminal only ``--yes`` will do.

    Raises:
        NotConfirmedError: there is neither.
    """
    if not yes and not is_interactive():
        text = f"{verb}: expected --yes, because there is no terminal to ask at"
        raise NotConfirmedError(text, hint=hint)


def typed(verb: str, target: Target) -> None:
    """Have the name of what is stopped typed in.

    Raises:
        NotConfirmedError: something else was typed, or nothing.
        KeyboardInterrupt: Ctrl-C.
    """
    sys.stderr.write(f"type {target} to {verb} it: ")
    sys.stderr.flush()
    if _line().strip() != str(target):
        text = f"{verb} {target}: not confirmed, nothing was sent"
        raise NotConfirmedError(text, hint=f"type exactly {target}, or give --yes")


def _line() -> str:
    """What is typed. Under an event loop Ctrl-C asks the task to end at its next wait, and the task waits here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)
