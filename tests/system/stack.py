"""A whole stack in a directory, for tests that need everything: each process by name, to be killed, held, started.

It runs in a thread with an event loop of its own, so that tests may be plain functions or have loops of
their own. ``with running_stack(path) as stack:``
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console

from rekey.cli.commanding import Order, rotate
from rekey.cli.target import Target
from rekey_core.contracts import AdoptionAnswer, KekAnswer, KeySummary
from rekey_core.errors import UnavailableError
from rekey_local.cast import AUDITOR, KEYS, OWNER, Cast
from rekey_local.child import ChildPlan
from rekey_local.commands import Outcome, Reader
from rekey_local.environments import Environments
from rekey_local.history import History
from rekey_local.layout import Layout
from rekey_local.plan import Plan
from rekey_local.screen import Screen
from rekey_local.stack import BUS, Stack, instance_names
from rekey_local.story import Story
from rekey_local.supervisor import Keeper
from rekey_local.tally import Tally
from tests.system.forked import Forked
from tests.system.founded import copy_of
from tests.system.readers import Readers

LIMIT_S: Final = 90.0
LOOK_S: Final = 30.0  # for how long a question that nobody answers is asked again
SHORTEST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.25
A_LITTLE: Final = ("--local-per-s", "40", "--remote-per-s", "5")  # calls of each of the four instances
NATS: Final = BUS
INSTANCES: Final = instance_names()
KEY_NAMES: Final = tuple(key.name for key in KEYS)

T = TypeVar("T")


class RunningStack:
    """A stack that is up. Names of processes: ``nats-server``, the services, ``orders-1`` and so on."""

    def __init__(self, directory: Path, load: tuple[str, ...]) -> None:
        self.layout = Layout(directory)
        self.screen = io.StringIO()
        environments = Environments(None)
        screen = Screen(Console(file=self.screen, width=200))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack")
        self._thread.start()
        self._stack = Stack(self.layout, environments, screen, load)
        self._people = Forked(self.layout, environments)
        self._story = Story(Cast(self._stack, self._people, screen))
        self._readers = Readers(self._people)

    def up(self) -> None:
        """Found and start bus and services."""
        self._wait(self._stack.up())

    def register(self) -> None:
        """Register the story's keys."""
        self._wait(self._story.register())

    def start_instances(self) -> None:
        """Start the dependents' instances; returns when each has its keys and works."""
        self._wait(self._stack.start_instances())

    def down(self) -> None:
        """Stop everything."""
        try:
            self._wait(self._readers.leave())
            self._wait(self._stack.down())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def plan(self) -> Plan:
        """The environment as it is founded."""
        return self._stack.plan

    @property
    def tally(self) -> Tally:
        """What the instances have counted so far."""
        return self._stack.tally

    def keeper(self, name: str) -> Keeper:
        """The keeper of a process."""
        return self._stack.keeper(name)

    def pid(self, name: str) -> int:
        """Of the running process."""
        pid = self.keeper(name).pid
        assert pid is not None, f"{name} does not run"
        return pid

    def start(self, plan: ChildPlan) -> None:
        """Start one more process; who starts it ends it with ``hold``."""
        self._call(lambda: self._stack._start(plan))  # noqa: SLF001 - no stack of a user has such a process

    def kill(self, name: str) -> int:
        """SIGKILL; the supervisor starts it again. Returns the pid that was killed."""
        pid = self.pid(name)
        self._call(self.keeper(name).kill)
        return pid

    def hold(self, name: str) -> None:
        """Stop a process and keep it stopped."""
        self._wait(self.keeper(name).stop())

    def release(self, name: str, limit_s: float = LIMIT_S) -> None:
        """Start a process that was held; returns when it is ready."""
        self._call(self.keeper(name).start)
        self.ready(name, limit_s)

    def ready(self, name: str, limit_s: float = LIMIT_S) -> None:
        """Wait until a process is ready (again)."""
        self._wait(self.keeper(name).ready(limit_s))

    def rekey(self, person: str, *arguments: str) -> Outcome:
        """Run the command line as a person, whatever its exit code."""
        return self._wait(self._people.run(person, *arguments))

    def ask(self, person: str, *arguments: str) -> Any:
        """Run the command line as a person and read its JSON; it must succeed."""
        outcome = self.rekey(person, *arguments, "--output", "json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    def show(self, key: str, person: str = OWNER) -> KeySummary:
        """A key as it is."""
        return self._wait(self._look(person, lambda reader: reader.show(key)))

    def history(self, key: str, person: str = OWNER) -> History:
        """A key's facts."""
        return self._wait(self._look(person, lambda reader: reader.history(key)))

    def adoption(self, key: str, version: int | None = None, person: str = OWNER) -> AdoptionAnswer:
        """Who has proved what of a version, and who is waited for."""
        return self._wait(
            self._look(person, lambda reader: reader.session.ask(AdoptionAnswer, key, version=version))
        )

    def keks(self, epoch: int, person: str = AUDITOR) -> KekAnswer:
        """What lies under which KEK, and what hangs under an epoch."""
        return self._wait(self._look(person, lambda reader: reader.session.ask(KekAnswer, epoch=epoch)))

    def rotate(self, key: str, *, wait_s: float = 60.0) -> Outcome:
        """Rotate a key as its owner and wait until everybody follows."""
        return self.rekey(OWNER, "key", "rotate", key, "--reason", "test", "--wait", str(wait_s))

    def order(self, key: str) -> None:
        """Order a rotation through the command line's library. Raises as the command: the log may have taken it."""
        order = Order(Target(key), "test", plan=False, wait_s=None)
        self._wait(self._readers.read(OWNER, lambda reader: rotate(reader.session, order)))

    def until(self, is_true: Callable[[], bool], limit_s: float = LIMIT_S, what: str = "it") -> None:
        """Wait until something holds."""
        end = time.monotonic() + limit_s
        pause_s = SHORTEST_PAUSE_S
        while not is_true():
            assert time.monotonic() < end, f"{what} did not come within {limit_s} s\n{self.screen.getvalue()}"
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)  # looking costs those who are looked at

    async def _look(self, person: str, question: Callable[[Reader], Awaitable[T]]) -> T:
        """The answer; asked again while nobody answers: bus and audit may only just have come back."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LOOK_S
        while True:
            try:
                return await self._readers.read(person, question)
            except UnavailableError:  # a try has its own pauses
                if loop.time() > end:
                    raise

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.layout.logs / f"{name}.log").read_text()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def _call(self, action: Callable[[], None]) -> None:
        done: Future[None] = Future()

        def run() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - whoever called is told
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(LIMIT_S)


@contextlib.contextmanager
def running_stack(
    directory: Path,
    *,
    registered: bool = True,
    instances: bool = True,
    load: tuple[str, ...] = A_LITTLE,
    copied: bool = True,
) -> Iterator[RunningStack]:
    """Bus and services; the story's keys; the story's dependents. ``copied``: from what was founded once for all tests."""
    if copied:
        copy_of(*(("registered", directory, _register) if registered else ("founded", directory, _found)))
    stack = RunningStack(directory, load)
    try:
        stack.up()
        if registered:
            stack.register()
        if instances:
            stack.start_instances()
        yield stack
    finally:
        stack.down()


def _found(template: Path) -> None:
    with running_stack(template, registered=False, instances=False, copied=False):
        pass


def _register(template: Path) -> None:
    copy_of("founded", template, _found)
    with running_stack(template, instances=False, copied=False):
        pass


@contextlib.contextmanager
def stopped(stack: RunningStack, name: str) -> Iterator[None]:
    """A process that stands still for the time of the block, with the lease that it has: what needs it waits."""
    pid = stack.pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
