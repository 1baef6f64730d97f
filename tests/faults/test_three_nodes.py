"""Three nodes, three replicas, each service on a node of its own: nothing is decided behind a revocation.

The controls do the same without the rule that each test is about and print how often it goes wrong on this machine: they
show that the race is really run. A machine may be too quick or too slow for them, so their counts are no verdict.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.faults.three_nodes import DEPENDENTS, Reads, Tally, in_lanes, logged_in
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

ROUNDS: Final = 300
CONTROL_ROUNDS: Final = 60
OUTCOMES: Final = 1500
LANES: Final = 4
SEED: Final = int(os.environ.get("REKEY_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
ANOTHER_STRING: Final = f"evt.{ENV}.{{key}}.*.>"  # the same facts, and another string


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBus]:
    with running_bus(tmp_path_factory.mktemp("nodes"), nodes=3, dependents=DEPENDENTS) as bus:
        yield bus


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a line although the test passes: the counts are what this test is for."""

    def line(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return line


async def test_no_delivery_is_recorded_behind_a_revocation(
    cluster: RunningBus, say: Callable[[str], None]
) -> None:
    ruled, control = Tally(), Tally()
    async with logged_in(cluster, SEED) as services:
        await in_lanes(LANES, [lambda: services.race(ruled)] * ROUNDS)
        await in_lanes(LANES, [lambda: services.race(control, check_subject=ANOTHER_STRING)] * CONTROL_ROUNDS)
    say(
        f"seed {SEED}; {ROUNDS} rounds: {ruled}; control with another check subject, {CONTROL_ROUNDS}: {control}"
    )
    assert ruled.behind == 0
    assert ruled.refused > 0, "no delivery came behind a revocation: the race was not run"
    assert ruled.before > 0, "no delivery came before a revocation: the race was not run"


async def test_no_outcome_without_a_fact_is_decided_on_a_stale_read(
    cluster: RunningBus, say: Callable[[str], None]
) -> None:
    reads = Reads()
    facts_of_a_registration = len(DEPENDENTS) + 2
    async with logged_in(cluster, SEED) as services:
        keys = -(-OUTCOMES // (facts_of_a_registration * len(services.readers)))
        await in_lanes(LANES, [lambda: services.outcomes(reads)] * keys)
    say(f"{reads.outcomes} outcomes: {reads.stale} stale; control, plain reads: {reads.plain_stale} stale")
    assert reads.outcomes >= OUTCOMES
    assert reads.stale == 0
