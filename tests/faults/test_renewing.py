"""A renewal of certificates and signing keys that is killed half-way: what it left works, and the next one finishes it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest

from rekey_core.names import Service
from rekey_core.trust import Trust
from tests.attacks.intruder import intruder
from tests.system.identities import identities, renewal, signing_key
from tests.system.stack import RunningStack, running_stack

RENEWAL_S: Final = 8.0  # about how long one takes undisturbed: instants are drawn from it
SEED: Final = int(os.environ.get("REKEY_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
KEY: Final = "orders-db"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("renewing"), load=()) as running:
        yield running


async def trust_of(stack: RunningStack) -> Trust:
    async with intruder(stack) as watcher:
        return watcher.trust


@pytest.mark.matrix
@pytest.mark.parametrize("victim", [None, *Service], ids=lambda s: f"{s} dies too" if s else "it alone dies")
@pytest.mark.parametrize("number", range(2))
def test_a_renewal_that_is_killed_is_finished_by_the_next_one(
    stack: RunningStack, number: int, victim: Service | None
) -> None:
    chance = random.Random(f"{SEED} {number} {victim}")
    seconds, before = chance.uniform(0, RENEWAL_S), stack.tally.totals()
    sys.stdout.write(f"REKEY_SEED={SEED}: killed {seconds:.3f} s after its start, and {victim}\n")
    killed = renewal(stack)
    time.sleep(seconds)
    killed.kill()
    killed.communicate()
    if victim is not None:
        stack.kill(victim)
    finished = renewal(stack)
    _, words = finished.communicate()
    assert finished.returncode == 0, words
    for service in Service:
        stack.ready(service)
    trust, used = asyncio.run(trust_of(stack)), identities(stack)
    for service in Service:
        key = signing_key(stack, service)
        assert trust.service_keys(service) == (key.public_raw,), f"{service}: one key, the one of its file"
        assert used[service]["signing_key"] == key.key_id
        assert not list(stack.layout.service(service).glob("*.next"))
    assert stack.rotate(KEY).code == 0
    after = stack.tally.totals()
    assert after.failed_local == before.failed_local, stack.tally.failures()
    if victim is None:
        assert after.failed == before.failed, stack.tally.failures()
