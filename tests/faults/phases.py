"""The four phases of a rotation, each held open for the time of a block while a real rotation goes through it.

What holds a phase is a process that stands still: an instance that has not answered yet, or the scheduler that has not
looked yet. Both go on afterwards as if they had been slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from rekey_core.confirmation import Phase
from rekey_core.contracts import Rotate
from rekey_core.fold import KeyState
from tests.attacks.intruder import Intruder
from tests.system.stack import RunningStack

SCHEDULER: Final = "rotation-scheduler"
MEMBERS: Final = (
    3  # instances of a key when its rotation begins: one that stays, one that leaves, one that dies
)


@dataclass(frozen=True)
class Rotation:
    """The rotation of one key to version 2; ``slow``: an instance as a process, which may stand still."""

    stack: RunningStack
    people: Intruder
    key: str
    slow: subprocess.Popen[str]

    async def ordered(self) -> None:
        """Its owner wants it; everybody has installed the version but the slow one, which stands still."""
        self.slow.send_signal(signal.SIGSTOP)
        await self.people.give(self.people.command(Rotate, "alice", self.key))
        await self.state(lambda state: 2 in state.versions and state.versions[2].generated is not None)
        await self.proved("installed", MEMBERS - 1)

    async def state(self, is_true: Callable[[KeyState], bool]) -> KeyState:
        """Wait for a state of the key."""
        return await self.people.until(self.key, is_true, within_s=60)

    async def proved(self, phase: Phase, count: int) -> None:
        """Wait until so many live instances have proved the phase of version 2."""

        def have() -> bool:
            told = self.stack.adoption(self.key, 2)
            found = [i for d in told.dependents for i in d.instances]
            proofs = [i.installed if phase == "installed" else i.switched for i in found]
            return proofs.count(True) >= count

        await asyncio.to_thread(self.stack.until, have, what=f"{count} proofs of {phase}")

    def without_scheduler(self) -> AbstractAsyncContextManager[None]:
        """The scheduler stands still for the time of the block."""
        return stood_still(self.stack.pid(SCHEDULER))


@contextlib.asynccontextmanager
async def stood_still(pid: int) -> AsyncIterator[None]:
    """A process that does nothing for the time of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def distributing(rotation: Rotation) -> AsyncIterator[None]:
    """The version is given out; one has not installed it."""
    await rotation.ordered()
    yield


@contextlib.asynccontextmanager
async def activating(rotation: Rotation) -> AsyncIterator[None]:
    """Everybody has installed the version; it is not activated yet."""
    await rotation.ordered()
    async with rotation.without_scheduler():
        rotation.slow.send_signal(signal.SIGCONT)
        await rotation.proved("installed", MEMBERS)
        yield


@contextlib.asynccontextmanager
async def superseding(rotation: Rotation) -> AsyncIterator[None]:
    """It is activated; one still protects with the version before."""
    async with activating(rotation):
        rotation.slow.send_signal(signal.SIGSTOP)
    await rotation.state(lambda state: state.current == 2)
    await rotation.proved("switched", MEMBERS - 1)
    yield


@contextlib.asynccontextmanager
async def retiring(rotation: Rotation) -> AsyncIterator[None]:
    """Everybody protects with it; the version before is not deactivated yet."""
    async with superseding(rotation), rotation.without_scheduler():
        rotation.slow.send_signal(signal.SIGCONT)
        await rotation.proved("switched", MEMBERS)
        yield


PHASES: Final = (distributing, activating, superseding, retiring)
