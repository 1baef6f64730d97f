"""People of the story use the real command line, each with their own context."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Final

from rekey_local.environments import STACK, Environments
from rekey_local.errors import StoryError
from rekey_local.history import History, KeyState, history, key_state
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
            env={**os.environ, "NO_COLOR": "1"},
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

    async def show(self, person: str, key: str) -> KeyState:
        """A key as it is. Raises StoryError as ``ask``."""
        return key_state(await self.ask(person, "key", "show", key))

    async def history(self, person: str, key: str) -> History:
        """A key's facts. Raises StoryError as ``ask``."""
        return history(await self.ask(person, "key", "history", key))
