"""A KEK roll-over while the story's dependents work: whatever dies at whatever step, it goes on, and no call fails."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rekey_ceremony.sides import kek_labels, labels
from rekey_core.names import Service
from rekey_hsm import record_mac_label
from rekey_local.settings import CEREMONY_FILE
from tests.attacks.intruder import Intruder, intruder
from tests.faults.replicas import replica
from tests.system.roll_over import Ceremony, destroyed_under, followed
from tests.system.stack import KEY_NAMES, RunningStack, running_stack

pytestmark = [
    pytest.mark.matrix,
    # nats-py leaves the sockets of its attempts to reach a killed server to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OLD, NEW = 1, 2
MADE: Final = (
    ("leave_half", "generator"),
    ("leave_half", "distributor"),
    ("make_probe", "generator"),
    ("keep_probe", "distributor"),
    ("mark", "generator"),
)
WORKED: Final = 200  # calls of all instances between two steps that matter


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("epochs"), load=()) as running:
        yield running


def dies(stack: RunningStack, step: tuple[str, str, str], *words: str) -> None:
    """The ceremony's program dies right after that step, with everything that it has started."""
    settings = str(stack.layout.ceremony / CEREMONY_FILE)
    program = (sys.executable, "-m", "tests.faults.dying", *step)
    action, *rest = words
    done = subprocess.run(
        [*program, action, "--settings", settings, *rest],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGKILL, (step, done.stderr)


def unharmed(stack: RunningStack, restarts: dict[str, int]) -> None:
    """Everybody worked on; nobody failed, and no service had to start again that was not killed here."""
    calls = stack.tally.totals().all_calls
    stack.until(lambda: stack.tally.totals().all_calls > calls + WORKED, what="calls of the instances")
    assert stack.tally.totals().failed == 0, stack.tally.failures()
    assert {name: stack.keeper(name).restarts for name in restarts} == restarts


Step = tuple[str, str, str]  # what, on which side, of which key


def founding(env: str) -> list[Step]:
    """Every step that changes a token when an epoch begins."""
    return [(step, side, label) for label in labels(env, NEW) for step, side in MADE]


def closing(env: str) -> list[Step]:
    """Every step that changes a token when nothing more is to be wrapped."""
    return [
        *(("retire", "generator", label) for label in kek_labels(env, OLD)),
        ("close", "generator", record_mac_label(env, OLD)),
    ]


def ending(env: str) -> list[Step]:
    """Every step that changes a token when the other halves go."""
    return [
        ("retire", "generator", record_mac_label(env, OLD)),
        *(("retire", "distributor", label) for label in labels(env, OLD)),
    ]


async def killed(stack: RunningStack, steps: list[Step], *words: str) -> int:
    """The program of these words dies after each step in turn; how often that was."""
    for step in steps:
        await asyncio.to_thread(dies, stack, step, *words)
    return len(steps)


async def rotated(stack: RunningStack, people: Intruder, restarts: dict[str, int]) -> int:
    """Each key comes under the new epoch while one of two replicas dies in mid-rotation; how many died."""
    with replica(stack, Service.GENERATOR) as generator, replica(stack, Service.DISTRIBUTOR) as distributor:
        victims = (Service.GENERATOR.value, distributor, generator, Service.DISTRIBUTOR.value)
        for key, victim in zip(KEY_NAMES, victims, strict=True):
            following = asyncio.create_task(followed(people, key, NEW))
            await people.until(key, lambda state: state.in_motion() is not None)
            await asyncio.to_thread(stack.kill, victim)
            if victim in restarts:
                restarts[victim] += 1
            await following
            await asyncio.to_thread(stack.ready, victim)
    return len(victims)


async def test_whatever_dies_in_a_roll_over_it_goes_on_and_no_call_fails(
    stack: RunningStack, tmp_path: Path
) -> None:
    ceremony, env, began = Ceremony(stack, tmp_path), stack.plan.env, time.monotonic()
    restarts = {service.value: stack.keeper(service).restarts for service in Service}
    kills = await killed(stack, founding(env), "found", "--epoch", str(NEW))
    await asyncio.to_thread(ceremony.founded, NEW)
    await asyncio.to_thread(unharmed, stack, restarts)
    async with intruder(stack) as people:
        kills += await rotated(stack, people, restarts)
        assert ceremony.status(OLD)[0] == 5
        await asyncio.to_thread(unharmed, stack, restarts)
        for key in KEY_NAMES:
            assert await destroyed_under(people, key, OLD)
    assert ceremony.status(OLD)[0] == 0
    words = ("retire", "--epoch", str(OLD), "--reason", "a roll-over")
    kills += await killed(stack, closing(env), *words)
    challenge = await asyncio.to_thread(ceremony.closed, OLD)
    log = await asyncio.to_thread(ceremony.log, challenge)
    kills += await killed(stack, ending(env), *words, "--log", str(log))
    code, said, wrong = await asyncio.to_thread(ceremony.retired, OLD, challenge)
    assert (code, said["destroyed"], said["left"]) == (0, [], []), wrong
    await asyncio.to_thread(unharmed, stack, restarts)
    calls = stack.tally.totals().all_calls
    sys.stdout.write(f"{kills} kills in {time.monotonic() - began:.0f} s; {calls} calls, 0 failed\n")
