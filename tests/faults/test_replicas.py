"""Two replicas of a service, under the story's load: either may die and stay dead."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from rekey_core.names import Service
from tests.faults.replicas import replica
from tests.faults.rotations import DATA, SETTLE_S, check, now_at, order, settled
from tests.system.stack import RunningStack, running_stack

# nats-py leaves the sockets of its attempts to reach a killed server to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Its instances call as often as in the story: 200 local and 20 remote calls a second each."""
    with running_stack(tmp_path_factory.mktemp("replicas"), load=()) as running:
        yield running


@pytest.mark.parametrize("service", [Service.GENERATOR, Service.DISTRIBUTOR])
def test_of_two_replicas_either_may_die_and_stay_dead(stack: RunningStack, service: Service) -> None:
    """Under load and in mid-rotation: not one remote call fails within the ten seconds that it may take."""
    with replica(stack, service) as second:
        failed = stack.tally.totals().failed
        for victim in (service.value, second):
            version = now_at(stack, DATA) + 1
            order(stack, DATA)
            stack.kill(victim)
            stack.hold(victim)
            stack.until(
                partial(settled, stack, DATA, version), SETTLE_S, f"{DATA}@{version} without {victim}"
            )
            stack.release(victim)
            check(stack, DATA, version)
        assert stack.tally.totals().failed == failed, stack.tally.failures()
