"""The durable gives a responder's command to one replica of the distributor; the others must refuse as well.

Here the durable is held up, as it is for every replica that does not get the command, and revocation is stopped: nothing but
the replica's own look at the commands can tell it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import RefusalAnswer
from tests.attacks.intruder import Intruder, a_key, intruder, poll
from tests.system.asking import an_instance
from tests.system.bus import ANSWER_S
from tests.system.stack import RunningStack, running_stack
from tests.system.test_emergency_lane import suspend

REVOCATION = "revocation"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("replicas"), registered=False, instances=False) as running:
        yield running


@pytest.fixture
async def attacker(stack: RunningStack) -> AsyncIterator[Intruder]:
    async with intruder(stack) as one:
        yield one


async def test_a_replica_that_did_not_get_the_command_refuses_too(
    stack: RunningStack, attacker: Intruder
) -> None:
    key = a_key()
    await attacker.registered(key)
    stack.hold(REVOCATION)
    pause = json.dumps({"pause_until": f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"})
    subject = f"$JS.API.CONSUMER.PAUSE.{Stream.COMMANDS}.distributor-emergency"
    answer = json.loads((await attacker.client.request(subject, pause.encode(), timeout=ANSWER_S)).data)
    assert answer["paused"], answer
    async with an_instance(attacker) as instance:
        assert await instance.material(key) is None, "sealed, so given"
        await suspend(attacker, key)

        async def refused() -> RefusalAnswer | None:
            answer = await instance.material(key)
            return answer if isinstance(answer, RefusalAnswer) else None

        assert (await poll(refused)).code == "state-refused"
    state = await attacker.state(key)
    assert state.versions[1].stopped_by == (), "revocation was stopped: the log does not say it"
