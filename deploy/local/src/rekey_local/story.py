"""The story: two keys are registered, used, rotated and stopped, while four instances never stop working."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rekey_local.commands import People
from rekey_local.errors import StoryError
from rekey_local.history import KeyState
from rekey_local.layout import write_private
from rekey_local.screen import Screen
from rekey_local.stack import Stack, instance_names
from rekey_local.tally import LOCAL

OWNER: Final = "alice"
RESPONDER: Final = "rita"
AUDITOR: Final = "adam"
WORK_S: Final = 1.5  # steady work between the parts, so that each is seen to disturb nothing
ROTATION_S: Final = 60.0
STOP_S: Final = 30.0
_POLL_S: Final = 0.05
_MARK: Final = "registered"


@dataclass(frozen=True)
class StoryKey:
    """A key of the story."""

    name: str
    key_class: str
    purpose: str


DATA: Final = StoryKey("orders-db", "application-data", "rows of the orders database")
TOKENS: Final = StoryKey("token-signer", "token-signing", "access tokens between services")
KEYS: Final = (DATA, TOKENS)


class Story:
    """Runs on a stack that is up."""

    def __init__(self, stack: Stack, people: People, screen: Screen) -> None:
        self._stack = stack
        self._people = people
        self._screen = screen

    async def run(self) -> None:
        """Everything, in order.

        Raises:
            StoryError: a goal was missed.
        """
        await self.register()
        with self._screen.step(f"{len(instance_names())} instances hold their keys and work"):
            await self._stack.start_instances()
        await self._work()
        await asyncio.gather(*(self._rotate(key) for key in KEYS))
        await self._work()
        await self._suspend(DATA)
        await self._work()
        await self._tell()
        self.check()

    async def register(self) -> None:
        """Register the story's keys, unless an earlier run did.

        Raises:
            StoryError: the command line, a service or a rule said no.
        """
        mark = self._stack.layout.root / _MARK
        if mark.exists():
            self._screen.say("keys are registered from an earlier run")
            return
        with self._screen.step(
            f"{OWNER} registered {' and '.join(key.name for key in KEYS)} by signed command"
        ):
            await asyncio.gather(*(self._register_one(key) for key in KEYS))
        write_private(mark, "")

    def check(self) -> None:
        """No call failed.

        Raises:
            StoryError: one did; carries the last failure of each instance.
        """
        totals = self._stack.tally.totals()
        if totals.failed:
            words = "; ".join(f"{name}: {text}" for name, text in self._stack.tally.failures().items())
            message = (
                f"{totals.failed} of {totals.all_calls} calls failed ({totals.failed_local} local): {words}"
            )
            raise StoryError(message)
        idle = [kind for kind, count in totals.calls.items() if count.done == 0]
        if idle:
            message = f"no call of {', '.join(idle)} was made"
            raise StoryError(message)

    def line(self) -> str:
        """The present state in one line."""
        totals = self._stack.tally.totals()
        slowest = max(totals.calls[kind].slowest_ms for kind in LOCAL)
        return (
            f"{totals.all_calls} calls, {totals.failed} failed, {totals.refused} refused (suspended); "
            f"slowest local {slowest:.0f} ms, remote {totals.calls['sign'].slowest_ms:.0f} ms"
        )

    async def _register_one(self, key: StoryKey) -> None:
        outcome = await self._people.run(
            OWNER,
            *("key", "register", key.name, "--class", key.key_class, "--purpose", key.purpose),
            *(
                "--dependent",
                "orders",
                "--dependent",
                "billing",
                "--reason",
                "the story begins",
                "--wait",
                "30",
            ),
        )
        state = (
            await self._people.show(OWNER, key.name)
            if outcome.code == 0 or "already" in outcome.err
            else None
        )
        while state is not None and state.current is None:
            await asyncio.sleep(_POLL_S)
            state = await self._people.show(OWNER, key.name)
        if state is None:
            message = f"{key.name} was not registered: {' '.join(outcome.err.split())}"
            raise StoryError(message)

    async def _work(self) -> None:
        end = time.monotonic() + WORK_S
        while time.monotonic() < end:
            self._screen.live(self.line())
            await asyncio.sleep(_POLL_S * 4)

    async def _rotate(self, key: StoryKey) -> None:
        started = time.monotonic()
        wait = ("--reason", "the story goes on", "--wait", f"{ROTATION_S:.0f}")
        await self._people.ask(OWNER, "key", "rotate", key.name, *wait)
        history = await self._people.history(OWNER, key.name)
        version = history.newest_version
        await self._until(
            lambda: self._all_switched(key, version), ROTATION_S, f"switched to {key.name}@{version}"
        )
        while not history.has("deactivated", version - 1):
            if time.monotonic() - started > ROTATION_S:
                message = f"{key.name}@{version - 1} was not deactivated within {ROTATION_S:.0f} s"
                raise StoryError(message)
            history = await self._people.history(OWNER, key.name)
        self._screen.title(f"{key.name} rotated to version {version} in {history.rotation_s(version):.2f} s")
        for phase, seconds in history.phases(version):
            self._screen.say(f"  {phase:<44} {seconds * 1000:6.0f} ms")

    async def _suspend(self, key: StoryKey) -> None:
        state = await self._people.show(RESPONDER, key.name)
        version = _previous(state)
        key_id = state.key_id(version)
        issued = time.time()
        await self._people.ask(
            RESPONDER, "suspend", f"{key.name}@{version}", "--reason", "a copy of the disk was found", "--yes"
        )
        await self._until(
            lambda: self._all_stopped(key, version, key_id), STOP_S, f"stopped {key.name}@{version}"
        )
        history = await self._people.history(RESPONDER, key.name)
        accepted = history.command_at("suspended", version) or issued
        self._screen.title(f"{RESPONDER} suspended {key.name}@{version}: every instance stopped")
        for name, report in sorted(self._stack.tally.newest.items()):
            at = max(seen.at for seen in report.stopped if (seen.key, seen.version) == (key.name, version))
            refused = report.first_refused[key_id] - accepted
            self._screen.say(
                f"  {name:<12} stopped {(at - accepted) * 1000:5.0f} ms after the command, "
                f"refused its first old ciphertext after {refused * 1000:.0f} ms"
            )

    async def _tell(self) -> None:
        histories = await asyncio.gather(*(self._people.history(AUDITOR, key.name) for key in KEYS))
        for key, history in zip(KEYS, histories, strict=True):
            self._screen.title(f"history of {key.name}")
            for line in history.lines():
                self._screen.say(f"  {line}")
        self._screen.title(self.line())

    def _all_switched(self, key: StoryKey, version: int) -> bool:
        self._screen.live(self.line())
        reports = self._stack.tally.newest
        return all(
            any((seen.key, seen.version) == (key.name, version) for seen in reports[name].rotated)
            for name in instance_names()
        )

    def _all_stopped(self, key: StoryKey, version: int, key_id: str) -> bool:
        self._screen.live(self.line())
        reports = [self._stack.tally.newest[name] for name in instance_names()]
        return all(
            any((seen.key, seen.version) == (key.name, version) for seen in report.stopped)
            and key_id in report.first_refused
            for report in reports
        )

    async def _until(self, is_true: Callable[[], bool], limit_s: float, what: str) -> None:
        end = time.monotonic() + limit_s
        while not is_true():
            if time.monotonic() > end:
                message = f"not every instance {what} within {limit_s:.0f} s"
                raise StoryError(message)
            await asyncio.sleep(_POLL_S)


def _previous(state: KeyState) -> int:
    older = [version for version, name in state.states.items() if name == "deactivated"]
    if not older:
        message = f"{state.key} has no deactivated version to suspend"
        raise StoryError(message)
    return max(older)
