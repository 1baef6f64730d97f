"""Instances of a dependent in tests: in this process, and as processes that can be stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import rekey
from rekey.retry import persistently

AAD: Final = b"row 7"
SOME: Final = 500  # calls during which the event loop may stand still
WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.02  # between two calls of a replica that works


@contextlib.contextmanager
def a_process(settings: Path, key: str, clock: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """An instance as a process (an_instance.py), killed at the end. ``clock``: the file of its clock (wrong_clock.py)."""
    program = ["tests.system.an_instance", str(settings), key]
    on_its_clock = ["tests.system.wrong_clock", str(clock)] if clock else []
    command = [sys.executable, "-m", *on_its_clock, *program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def ask(process: subprocess.Popen[str], where: str = "") -> str:
    """One call in the process; what came of it."""
    assert process.stdin is not None
    process.stdin.write(f"{where}\n")
    process.stdin.flush()
    return said(process)


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def reads(box: rekey.Keyring, ciphertext: bytes) -> bool:
    """Whether it decrypts; the lease may be over for a moment."""
    with contextlib.suppress(rekey.LeaseExpiredError):
        return box.decrypt(ciphertext, AAD) == b"data"
    return False


async def spent(box: rekey.Keyring) -> rekey.QuotaExhaustedError:
    """Protect until nothing is left; what is said then. The lease is renewed meanwhile, if not always in time."""
    while True:
        with contextlib.suppress(rekey.LeaseExpiredError):
            try:
                for _ in range(SOME):
                    box.encrypt(b"data", AAD)
            except rekey.QuotaExhaustedError as error:
                return error
        await asyncio.sleep(0.001)


async def transport(keys: rekey.Keys, name: str) -> str:
    """The AES transport key that a version comes under, as it is wrapped to the dependent's trusted key."""
    version = keys.status()[name].current
    assert version is not None
    once = partial(keys._members.first.requests.material, name, [version])  # noqa: SLF001 - the SDK has it and would not ask again
    answer = await persistently(once, WITHIN_S, what=name)
    assert answer.releases[0].transport is not None
    return answer.releases[0].transport


@dataclass
class Replica:
    """An instance in this process that never stops calling; every call that fails is kept."""

    keys: rekey.Keys
    boxes: dict[str, rekey.Keyring] = field(default_factory=dict)
    newest: dict[str, bytes] = field(default_factory=dict)  # by key: what it encrypted last
    calls: int = 0
    failed: list[str] = field(default_factory=list)

    async def work(self) -> None:
        """Encrypt and decrypt with every key, until cancelled."""
        while True:
            self.once()
            await asyncio.sleep(PAUSE_S)

    def once(self) -> None:
        """Encrypt and decrypt with every key."""
        for key, box in self.boxes.items():
            self._call(key, box)

    def _call(self, key: str, box: rekey.Keyring) -> None:
        try:
            self.newest[key] = box.encrypt(b"data", AAD)
            assert box.decrypt(self.newest[key], AAD) == b"data"
        except rekey.RekeyError as error:
            self.failed.append(f"{key}: {error.code}: {error}")
        self.calls += 1


@contextlib.asynccontextmanager
async def replica(settings: Path, keys: Sequence[str]) -> AsyncIterator[Replica]:
    """Connected, with these keys ready, and at work; it leaves in good order at the end."""
    async with rekey.connect(rekey.Settings.load(settings)) as connected:
        one = Replica(connected)
        one.boxes.update(zip(keys, await asyncio.gather(*map(connected.keyring, keys)), strict=True))
        one.once()
        working = asyncio.create_task(one.work())
        try:
            yield one
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
