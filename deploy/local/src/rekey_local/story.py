"""The story: four keys are registered, used, rotated and stopped, while four instances never stop working."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Final

from rekey_core.quotas import BUDGET
from rekey_local.cast import AUDITOR, DATA, KEYS, OWNER, Cast, StoryKey
from rekey_local.cutting_off import Guest, a_guest
from rekey_local.errors import StoryError
from rekey_local.layout import write_private
from rekey_local.proving import prove_backups, sealed_before
from rekey_local.rotation import rotate
from rekey_local.stack import instance_names
from rekey_local.stopping import stop_previous
from rekey_local.tally import LOCAL, REMOTE

WORK_S: Final = 1.5  # steady work between the parts, so that each is seen to disturb nothing
_LIVE_S: Final = 0.2
_REGISTRATION_S: Final = 30
_ALREADY_THERE: Final = 5  # exit code: precondition
_MARK: Final = "registered"


class Story:
    """Runs on a stack that is up."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast

    async def run(self) -> None:
        """Everything, in order.

        Raises:
            StoryError: a goal was missed.
            RekeyError: a question was not answered.
        """
        cast = self._cast
        await self.register()
        stopped = await self._stopped()
        with cast.screen.step(f"{len(instance_names())} instances hold their keys and work"):
            await cast.stack.start_instances()
        async with a_guest(cast) as guest:
            rotations, allowed = await self._change(stopped, guest)
        await self._tell(rotations)
        self._only_old_data_is_refused(allowed)
        self._everybody_read_the_others()
        self.check()

    async def _change(
        self, stopped: tuple[StoryKey, ...], guest: Guest
    ) -> tuple[list[str], Mapping[str, int]]:
        """Every key rotates, backups are proved, a version is stopped, an instance is cut off.

        The lines that say how they rotated, and how many calls were refused before anything was stopped.
        """
        cast = self._cast
        await self._work()
        old = await sealed_before(cast.stack.layout.exchange)
        rotations = await asyncio.gather(*(rotate(cast, key) for key in KEYS))
        allowed = self._refused(stopped)
        async with asyncio.TaskGroup() as group:
            group.create_task(prove_backups(cast, old))
            group.create_task(self._go_on(stopped, rotations, guest))
        return rotations, allowed

    async def _go_on(self, stopped: Iterable[StoryKey], rotations: list[str], guest: Guest) -> None:
        """Work, with a stop in between; what rotates once more is added to the rotations.

        Once nothing rotates any more, one instance loses the bus, while the others and the responder have it.
        """
        cast = self._cast
        await self._work()
        if DATA in stopped:  # the version before the current one is stopped already
            rotations.append(await rotate(cast, DATA))
            await self._work()
        async with asyncio.TaskGroup() as group:
            group.create_task(guest.cut_off())
            await stop_previous(cast, DATA)
            await self._work()

    async def register(self) -> None:
        """Register the story's keys, unless an earlier run did.

        Raises:
            StoryError: the command line, a service or a rule said no.
        """
        mark = self._cast.stack.layout.root / _MARK
        if mark.exists():
            self._cast.screen.say("the keys are registered from an earlier run")
            return
        names = ", ".join(key.name for key in KEYS)
        with self._cast.screen.step(f"{OWNER} registered {names} by signed command, version 1 is made"):
            await asyncio.gather(*(self._register(key) for key in KEYS))
        write_private(mark, "")

    def check(self) -> None:
        """No call failed.

        Raises:
            StoryError: one did; carries the last failure of each instance.
        """
        tally = self._cast.stack.tally
        totals = tally.totals()
        if totals.failed:
            words = "; ".join(f"{name}: {text}" for name, text in tally.failures().items())
            counts = f"{totals.failed} of {totals.all_calls} calls failed ({totals.failed_local} local)"
            message = f"{counts}: {words}"
            logs = self._cast.stack.layout.logs
            raise StoryError(
                message, hint=f"read {logs}; where other work takes all processors, run it again"
            )
        idle = [kind for kind, count in totals.calls.items() if count.done == 0]
        if idle:
            message = f"no call of {', '.join(idle)} was made"
            raise StoryError(message)

    async def _stopped(self) -> tuple[StoryKey, ...]:
        """Keys without a current version, since people stopped it in an earlier run: a rotation replaces it."""
        async with self._cast.people.reading(AUDITOR) as reader:
            stopped = [key for key in KEYS if (await reader.show(key.name)).current is None]
        for key in stopped:
            self._cast.screen.say(
                f"{key.name} was stopped in an earlier run: it is refused until it has rotated"
            )
        return tuple(stopped)

    def _refused(self, keys: Iterable[StoryKey]) -> Mapping[str, int]:
        """How many calls of these keys were refused so far, by kind."""
        calls = self._cast.stack.tally.totals().calls
        return {kind: calls[kind].refused for key in keys for kind in key.calls}

    def _only_old_data_is_refused(self, allowed: Mapping[str, int]) -> None:
        """The story stops a version that only old ciphertexts need; what people stop later is theirs."""
        refused = self._refused(KEYS)
        wrong = [f"{count} of {kind}" for kind, count in refused.items() if count > allowed.get(kind, 0)]
        if wrong:
            message = f"calls were refused that no stopped version concerns: {', '.join(wrong)}"
            raise StoryError(
                message, hint="did somebody stop a key meanwhile? deploy/up starts again from there"
            )

    def line(self) -> str:
        """The present state in one line."""
        totals = self._cast.stack.tally.totals()
        slowest = max(totals.calls[kind].slowest_ms for kind in LOCAL)
        remote = max(totals.calls[kind].slowest_ms for kind in REMOTE)
        return (
            f"{totals.all_calls} calls, {totals.failed} failed, {totals.refused} refused (suspended); "
            f"slowest local {slowest:.0f} ms, remote {remote:.0f} ms"
        )

    async def _register(self, key: StoryKey) -> None:
        outcome = await self._cast.people.run(
            OWNER,
            *("key", "register", key.name, "--class", key.key_class, "--purpose", key.purpose),
            *("--dependent", "orders", "--dependent", "billing"),
            *("--reason", "the story begins", "--wait", str(_REGISTRATION_S)),
        )
        if outcome.code not in {
            0,
            _ALREADY_THERE,
        }:  # the latter: an earlier run ended between command and mark
            message = f"{key.name} was not registered: {' '.join(outcome.err.split())}"
            raise StoryError(message)

    async def _work(self) -> None:
        end = time.monotonic() + WORK_S
        while time.monotonic() < end:
            self._cast.screen.live(self.line())
            await asyncio.sleep(_LIVE_S)

    def _everybody_read_the_others(self) -> None:
        newest = self._cast.stack.tally.newest
        alone = [
            f"{kind} by {name}"
            for name in instance_names()
            for kind, count in newest[name].exchanged.items()
            if count == 0
        ]
        if alone:
            message = f"nothing that another instance made was used: {', '.join(alone)}"
            raise StoryError(message)

    async def _tell(self, rotations: Iterable[str]) -> None:
        async with self._cast.people.reading(AUDITOR) as reader:
            for key in KEYS:
                self._cast.screen.title(f"history of {key.name}, as {AUDITOR} reads it")
                for line in (await reader.history(key.name)).lines():
                    self._cast.screen.say(f"  {line}")
        self._cast.screen.title(self.line())
        for line in (*rotations, *self._rates(), *self._quotas()):
            self._cast.screen.say(f"  {line}")

    def _rates(self) -> list[str]:
        newest = self._cast.stack.tally.newest
        return [
            f"{name}: {report.per_s(LOCAL):.0f} local and {report.per_s(REMOTE):.0f} remote calls/s, "
            f"decrypted {report.exchanged['decrypt']} ciphertexts and verified {report.exchanged['verify']} tokens "
            "of other instances"
            for name, report in sorted(newest.items())
        ]

    def _quotas(self) -> list[str]:
        """Messages that each instance was given, and how many it used, of the version that it protects with."""
        newest = self._cast.stack.tally.newest
        return [
            f"{name}: quota of {DATA.name}@{report.current.get(DATA.name)}: {given:,} messages granted, "
            f"{given - left:,} used, of {BUDGET:,} for everybody"
            for name, report in sorted(newest.items())
            for given, left in [report.messages.get(DATA.name, (0, 0))]
        ]
