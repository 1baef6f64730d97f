"""People of the story use the real command line, each with their own context; to read, its library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from rekey.cli.context import load_context
from rekey.cli.session import Session, connected
from rekey_core.contracts import HistoryAnswer, KeySummary, ShowAnswer
from rekey_local.child import die_with_us, environment
from rekey_local.environments import STACK, Environments
from rekey_local.errors import StoryError
from rekey_local.history import History
from rekey_local.layout import Layout
from rekey_local.settings import context

LIMIT_S: Final = 120.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class People:
    """Runs ``rekey`` as a person."""

    layout: Layout
    environments: Environments

    async def run(self, person: str, *arguments: str, limit_s: float = LIMIT_S) -> Outcome:
        """Run the command, whatever its exit code."""
        process = await asyncio.create_subprocess_exec(
            self.environments.python(STACK),
            "-m",
            "rekey.cli",
            *arguments,
            "--context",
            str(context(self.layout, person)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment({"NO_COLOR": "1"}),
            start_new_session=True,  # Ctrl-C is for the supervisor
            preexec_fn=die_with_us(),
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), limit_s)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
            raise
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    async def ask(self, person: str, *arguments: str) -> Any:  # noqa: ANN401  JSON as the command line prints it
        """Run the command and read its JSON.

        Raises:
            StoryError: it ended with another code than 0; carries its words.
        """
        outcome = await self.run(person, *arguments, "--output", "json")
        if outcome.code != 0:
            words = " ".join(outcome.err.split()) or "no words"
            message = f"rekey {' '.join(arguments)} by {person} exited with {outcome.code}: {words}"
            raise StoryError(message)
        return json.loads(outcome.out) if outcome.out.strip() else None

    @asynccontextmanager
    async def reading(self, person: str) -> AsyncIterator[Reader]:
        """Ask audit as the person, through the command line's own library: cheaper than a process per question.

        Raises:
            RekeyError: the bus does not let them in, or trust does not chain.
        """
        async with connected(load_context(context(self.layout, person))) as session:
            yield Reader(session)


@dataclass(frozen=True)
class Reader:
    """A person who reads. Every answer is verified as audit's own."""

    session: Session

    async def show(self, key: str) -> KeySummary:
        """A key as it is. Raises AnsweredError when audit refuses, UnavailableError when it does not answer."""
        return (await self.session.ask(ShowAnswer, key)).key

    async def history(self, key: str) -> History:
        """A key's facts. Raises as ``show``."""
        return History((await self.session.ask(HistoryAnswer, key)).entries)
