"""In one running stack that keeps rotating: kill -9 at every phase boundary, and at seeded instants.

Whatever dies, the rotation ends the same: each step once, the new version current, the old one deactivated, no void message,
and not one local call of an application failed. Remote calls are retried by the SDK and may fail after ten seconds only.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from rekey_local.stack import DATABASE
from tests.faults.boundaries import BOUNDARIES, PROCESSES, Boundary, Killer
from tests.faults.lost_database import (
    administrator,
    away,
    dropped,
    killed,
    restored,
    rows_are_right,
)
from tests.faults.rotations import DATA, SETTLE_S, check, now_at, order, shown
from tests.system.stack import A_LITTLE, INSTANCES, KEY_NAMES, NATS, RunningStack, running_stack, stopped

# nats-py leaves the sockets of its attempts to reach a killed server to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROTATION_S: Final = 1.5  # about how long a rotation takes undisturbed: instants are drawn from it
TRIES: Final = 3  # rotations to hit a boundary with
SEED: Final = int(os.environ.get("REKEY_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)

EVERYDAY: Final = [(b, victim) for b in BOUNDARIES for victim in (b.actor, NATS)]
FULL: Final = [(b, victim) for b in BOUNDARIES for victim in PROCESSES]


def rows(pairs: list[tuple[Boundary, str]]) -> list[object]:
    return [pytest.param(b, victim, id=f"{victim} dies when {b.name}") for b, victim in pairs]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RunningStack]:
    """Its instances call a fifth as often as in the story; for the matrix as often."""
    load = () if request.config.getoption("-m") == "matrix" else A_LITTLE
    with running_stack(tmp_path_factory.mktemp("kills"), load=load) as running:
        yield running


def kill_at(stack: RunningStack, boundary: Boundary, victim: str) -> None:
    """Rotations until one was killed before it had passed the boundary; each of them must end the same."""
    for attempt in range(1, TRIES + 1):
        version = now_at(stack, DATA) + 1
        with Killer(stack, boundary, victim, DATA, version).watching() as killer:
            order(stack, DATA)
            assert killer.killed.wait(SETTLE_S), f"the rotation never came to: {boundary.name}"
        check(stack, DATA, version)
        assert f"{victim} ended by SIGKILL; starts again in" in stack.screen.getvalue()
        verdict = "hit" if killer.hit else "too late"
        sys.stdout.write(f"try {attempt}: {victim} died when {boundary.name}: {verdict}\n")
        if killer.hit:
            return


def kill_after(stack: RunningStack, victim: str, seconds: float) -> None:
    versions = {key: now_at(stack, key) + 1 for key in KEY_NAMES}
    with ThreadPoolExecutor(len(KEY_NAMES)) as people:
        list(people.map(lambda key: order(stack, key), KEY_NAMES))
    time.sleep(seconds)
    stack.kill(victim)
    for key, version in versions.items():
        check(stack, key, version)


@pytest.mark.parametrize(("boundary", "victim"), rows(EVERYDAY))
def test_every_rotation_ends_the_same(stack: RunningStack, boundary: Boundary, victim: str) -> None:
    kill_at(stack, boundary, victim)


@pytest.mark.parametrize("number", range(4))
def test_at_a_seeded_instant(stack: RunningStack, number: int) -> None:
    chance = random.Random(SEED + number)
    victim, seconds = chance.choice(PROCESSES), chance.uniform(0, ROTATION_S)
    sys.stdout.write(
        f"REKEY_SEED={SEED} instant {number}: {victim} dies {seconds:.3f} s after the commands\n"
    )
    kill_after(stack, victim, seconds)


LOST = [
    pytest.param(killed, id="it is killed"),
    pytest.param(dropped, id="it is dropped and made again"),
    pytest.param(restored, id="an older one is restored and its readers start again"),
    pytest.param(away, id="it is away while its readers start", marks=pytest.mark.matrix),
]


@pytest.mark.parametrize("lose", LOST)
def test_whatever_becomes_of_the_database_in_mid_rotation_changes_nothing(
    stack: RunningStack, tmp_path: Path, lose: Callable[[RunningStack, Path], None]
) -> None:
    version, older = now_at(stack, DATA) + 1, tmp_path / "older.dump"
    administrator(stack).dump(older)
    with stopped(stack, INSTANCES[0]):
        order(stack, DATA)
        stack.until(lambda: is_moving(stack, DATA, version), SETTLE_S, "a rotation under way")
        lose(stack, older)
    check(stack, DATA, version)
    stack.ready(DATABASE)
    stack.until(lambda: rows_are_right(stack), SETTLE_S, "rows that are what the log says")


def is_moving(stack: RunningStack, key: str, version: int) -> bool:
    summary = shown(stack, key)
    return summary is not None and summary.versions[-1].version == version


@pytest.mark.matrix
@pytest.mark.parametrize(("boundary", "victim"), rows(FULL))
def test_full_matrix(stack: RunningStack, boundary: Boundary, victim: str) -> None:
    kill_at(stack, boundary, victim)


@pytest.mark.matrix
@pytest.mark.parametrize("number", range(20))
def test_full_instants(stack: RunningStack, number: int) -> None:
    chance = random.Random(SEED + 1000 + number)
    victim, seconds = chance.choice(PROCESSES), chance.uniform(0, ROTATION_S)
    sys.stdout.write(
        f"REKEY_SEED={SEED} instant {number}: {victim} dies {seconds:.3f} s after the commands\n"
    )
    kill_after(stack, victim, seconds)
