"""A KEK roll-over as people do it: the ceremony's program, keys that follow, and the end of the old epoch."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rekey_core.contracts import Destroy, EpochEnd, Rotate
from rekey_core.fold import KeyState
from rekey_local.settings import CEREMONY_FILE
from tests.attacks.intruder import Intruder
from tests.system.backup_desk import Desk
from tests.system.stack import RunningStack

Said = dict[str, Any]


@dataclass(frozen=True)
class Ceremony:
    """The people who have the PINs of both tokens, and those who read the log for them."""

    stack: RunningStack
    place: Path

    def run(self, action: str, epoch: int, *words: str) -> tuple[int, Said, str]:
        """The ceremony's program: exit code, report, words."""
        settings = str(self.stack.layout.ceremony / CEREMONY_FILE)
        line = ("rekey_ceremony", action, "--settings", settings, "--epoch", str(epoch), *words)
        return _run(*line)

    def founded(self, epoch: int) -> None:
        """Both tokens have their halves of the epoch."""
        code, _, words = self.run("found", epoch)
        assert code == 0, words

    def closed(self, epoch: int) -> str:
        """The word that came of it."""
        code, said, words = self.run("retire", epoch, "--reason", "a roll-over")
        assert code == 0, words
        return str(said["challenge"])

    def log(self, challenge: str) -> Path:
        """The log as it is now, in a file."""
        file, settings = self.place / "log", str(self.stack.layout.backup / "settings.toml")
        line = ("rekey_backup", "log", "--settings", settings, "--challenge", challenge, "--log", str(file))
        code, _, words = _run(*line)
        assert code == 0, words
        return file

    def retired(self, epoch: int, challenge: str) -> tuple[int, Said, str]:
        """What came of it, with the log as it is now; in the file ``end`` what officers sign of it."""
        log, end = str(self.log(challenge)), str(self.place / "end")
        return self.run("retire", epoch, "--reason", "a roll-over", "--log", log, "--end", end)

    def recorded(self, epoch: int) -> None:
        """One officer is refused and two are on record; without the bus it is found so by what they signed and the log."""
        desk = Desk(self.stack, self.place)
        words = ("--about", "kek-end", f"--attestation={desk.file('end')}")
        alone, both = (
            desk.signed("end", *who, namespace=EpochEnd.NAMESPACE) for who in (("olga",), ("olga", "odile"))
        )
        assert desk.run("attest", *words, *alone, settings="settings.toml")[0] == 4
        assert epoch not in {end["epoch"] for end in self.status(epoch)[1]["ended"]}
        code, _, wrong = desk.run("attest", *words, *both, settings="settings.toml")
        assert code == 0, wrong
        [end] = [end for end in self.status(epoch)[1]["ended"] if end["epoch"] == epoch]
        assert end["officers"] == ["odile", "olga"]
        desk.export()
        code, said, wrong = desk.run("check", f"--bundle={desk.file('bundle')}", *words, *both)
        assert (code, said["valid"], said["epoch"]) == (0, True, epoch), wrong

    def status(self, epoch: int) -> tuple[int, Said]:
        """What an auditor is told that hangs under the epoch."""
        line = ("kek", "status", "--epoch", str(epoch), "--output", "json")
        outcome = self.stack.rekey("adam", *line)
        return outcome.code, json.loads(outcome.out)


def _run(module: str, *words: str) -> tuple[int, Said, str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={name: value for name, value in os.environ.items() if name != "SOFTHSM2_CONF"},
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


async def followed(watcher: Intruder, key: str, epoch: int) -> KeyState:
    """The key rotates until its current version lies under the epoch; the generator learns of it within seconds."""
    state = await watcher.until(key, is_settled)
    while epoch_of(state, state.current) != epoch:
        before = state.current
        await watcher.give(watcher.command(Rotate, "alice", key))
        await watcher.until(key, partial(is_past, before))
        state = await watcher.until(key, is_settled)
    return state


def is_past(version: int | None, state: KeyState) -> bool:
    """Another version is current."""
    return state.current != version


def is_settled(state: KeyState) -> bool:
    """One version is current, and every older one is deactivated."""
    return state.current is not None and len(state.versions.unsettled) == 1


def epoch_of(state: KeyState, version: int | None) -> int | None:
    """Under which epoch a version lies."""
    lies = state.versions[version].wrapped if version else None
    return lies.epoch if lies else None


async def destroyed_under(watcher: Intruder, key: str, epoch: int) -> list[int]:
    """Two people destroy what lies under the epoch; which versions."""
    state = await watcher.until(key, is_settled)
    numbers = [n for n in sorted(state.versions) if epoch_of(state, n) == epoch]
    for number in numbers:
        await watcher.give_by_two(watcher.command(Destroy, "alice", key, version=number), "rita")
    await watcher.until(key, lambda s: all(s.versions[number].destroyed for number in numbers))
    return numbers


async def rolled_over(watcher: Intruder, place: Path, keys: tuple[str, ...]) -> int:
    """An epoch comes, the keys lie under it, the next one comes, they follow, and the one before ends; the newest."""
    ceremony = Ceremony(watcher.stack, place)
    newest = watcher.stack.ask("adam", "kek", "status", "--epoch", "1000")["newest"]
    old, new = newest + 1, newest + 2
    for epoch in (old, new):
        await asyncio.to_thread(ceremony.founded, epoch)
        await asyncio.gather(*(followed(watcher, key, epoch) for key in keys))
    code, said = ceremony.status(old)
    hanging = {(name["key"], name["command"].partition("@")[0]) for name in said["names"]}
    assert (code, hanging) == (5, {(key, f"rekey key destroy {key}") for key in keys})
    challenge = await asyncio.to_thread(ceremony.closed, old)
    code, _, words = await asyncio.to_thread(ceremony.retired, old, challenge)
    assert (code, f"lie under epoch {old}, or may: " in words) == (4, True), words
    assert all(await asyncio.gather(*(destroyed_under(watcher, key, old) for key in keys)))
    assert ceremony.status(old)[0] == 0
    code, said, words = await asyncio.to_thread(ceremony.retired, old, challenge)
    assert (code, said["left"]) == (0, []), words
    await asyncio.to_thread(ceremony.recorded, old)
    return int(new)
