"""Following a command until it is decided, and until everybody has followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from rekey.cli.errors import AnsweredError, IncompleteError
from rekey.cli.output import tell
from rekey.cli.session import Session
from rekey_core.contracts import AdoptionAnswer, CommandAnswer, ShowAnswer
from rekey_core.errors import UnavailableError

DECIDED_S: Final = 5.0  # a command is decided in well under a second when its service runs
POLL_S: Final = 0.1

Done = Callable[[], Awaitable[str | None]]  # none: done; else what is missing


@dataclass
class Deadline:
    """A time limit in seconds from now on; says what is missing when it changes."""

    seconds: float
    _ends: float = field(init=False)
    _said: str = ""

    def __post_init__(self) -> None:
        self._ends = time.monotonic() + self.seconds

    @property
    def left_s(self) -> float:
        """Seconds until its end; 0 after it."""
        return max(0.0, self._ends - time.monotonic())

    async def until(self, done: Done, *, hint: str) -> None:
        """Ask until done.

        Raises:
            IncompleteError: the time is over; says what is missing.
        """
        while True:
            missing = await _missing(done)
            if missing is None:
                return
            if missing != self._said:
                tell(f"waiting: {missing}")
                self._said = missing
            if time.monotonic() >= self._ends:
                text = f"accepted, but not complete after {self.seconds:g} s: {missing}"
                raise IncompleteError(text, hint=hint)
            await asyncio.sleep(POLL_S)


async def _missing(done: Done) -> str | None:
    try:
        return await done()
    except UnavailableError as error:
        return str(error)  # the log has the command; who tells us about it may come back


async def decision(session: Session, command: str, within_s: float = DECIDED_S) -> CommandAnswer | None:
    """What became of the command; none when nobody has decided, or could say so, in this time.

    Raises:
        AnsweredError: a service refused it.
    """
    ends = time.monotonic() + within_s
    while True:
        try:
            answer = await session.ask(CommandAnswer, command=command, tries=1)
        except UnavailableError:
            answer = None
        except AnsweredError as error:
            if error.code != "not-found":  # the log had not shown it to audit yet
                raise
            answer = None
        if answer is not None and answer.status == "refused":
            raise AnsweredError(answer.code or "refused", answer.message or "refused", hint=answer.hint)
        if answer is not None and answer.status == "done":
            return answer
        if time.monotonic() >= ends:
            return None
        await asyncio.sleep(POLL_S)


def active(session: Session, key: str, version: int) -> Done:
    """Done when the version is current and, of the one before, nobody protects with it any more."""

    async def done() -> str | None:
        shown = (await session.ask(ShowAnswer, key, tries=1)).key
        states = {v.version: v.state for v in shown.versions}
        before = [n for n, state in states.items() if n < version and state == "active"]
        if (shown.current or 0) >= version and not before:
            return None
        adoption = (
            await session.ask(AdoptionAnswer, key, version=version, tries=1) if version in states else None
        )
        return f"{key}@{version} is {states.get(version, 'not made yet')}{_for(adoption)}"

    return done


def stopped(session: Session, key: str, versions: tuple[int, ...]) -> Done:
    """Done when every live instance has said that it stopped with these versions."""

    async def done() -> str | None:
        for version in versions:
            adoption = await session.ask(AdoptionAnswer, key, version=version, tries=1)
            if who := _who(adoption, "stopped"):
                return f"{key}@{version} is {adoption.state}{who}"
        return None

    return done


def resumed(session: Session, key: str, version: int) -> Done:
    """Done when every live instance holds the version again, and protects with it if it is current."""

    async def done() -> str | None:
        shown = (await session.ask(ShowAnswer, key, tries=1)).key
        adoption = await session.ask(AdoptionAnswer, key, version=version, tries=1)
        who = _who(adoption, "switched" if shown.current == version else "installed")
        return f"{key}@{version} is {adoption.state}{who}" if who or adoption.state == "suspended" else None

    return done


def destroyed(session: Session, key: str, version: int) -> Done:
    """Done when the version is destroyed and every live instance has said that it has it no longer."""

    async def done() -> str | None:
        adoption = await session.ask(AdoptionAnswer, key, version=version, tries=1)
        if adoption.state not in ("destroyed", "destroyed-compromised"):
            return f"{key}@{version} is {adoption.state}"
        who = _who(adoption, "stopped")
        return f"{key}@{version} is {adoption.state}{who}" if who else None

    return done


def _for(adoption: AdoptionAnswer | None) -> str:
    """Whom the rotation waits for; says so when they should have come by now."""
    if adoption is None or (found := adoption.waiting) is None:
        return ""
    who = ", ".join(_short(missing) for missing in found.missing)
    late = f", deadline {found.deadline:%H:%M:%S}Z passed" if adoption.at >= found.deadline else ""
    return f"; not {found.step} since {found.since:%H:%M:%S}Z{late}: {who}"


def _short(missing: str) -> str:
    dependent, _, instance = missing.partition("/")
    return f"{dependent}/{instance[:8]}"


def _who(adoption: AdoptionAnswer, phase: str) -> str:
    missing = [
        f"{dependent.dependent}/{instance.instance[:8]}"
        for dependent in adoption.dependents
        for instance in dependent.instances
        if not getattr(instance, phase)
    ]
    return f"; not {phase}: {', '.join(missing)}" if missing else ""
