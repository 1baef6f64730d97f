"""In one running stack: a process that is killed comes back, and no local call fails meanwhile.

An instance that is killed is in ``tests/faults/test_kills.py``: until its lease ends no rotation does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rekey.cli.waiting import DECIDED_S
from rekey_core.names import Service
from rekey_local.errors import NotReadyError
from rekey_local.stack import DATABASE
from tests.system.identities import fetch
from tests.system.stack import INSTANCES, NATS, RunningStack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("restarts")) as one:
        yield one


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(NATS, id="the bus"),
        pytest.param(DATABASE, id="the database"),
        pytest.param("generator", id="the generator"),
        pytest.param("distributor", id="the distributor"),
        pytest.param("rotation-scheduler", id="the scheduler"),
        pytest.param("revocation", id="revocation"),
        pytest.param("audit", id="audit"),
    ],
)
def test_a_killed_process_comes_back_and_the_screen_says_so(stack: RunningStack, name: str) -> None:
    before = stack.kill(name)

    stack.until(lambda: stack.keeper(name).pid not in {None, before}, what=f"a new {name}")
    stack.ready(name)

    assert f"{name} ended by SIGKILL; starts again in" in stack.screen.getvalue()
    assert stack.tally.totals().failed_local == 0, stack.tally.failures()


def is_ready(stack: RunningStack, service: Service) -> bool:
    """Whether it says so: not while it comes back after something that it needs was killed."""
    return fetch(f"{stack.plan.http_urls[service]}/readyz")[0] == 200


def says(stack: RunningStack, service: Service, *remarks: str) -> bool:
    """Whether a service that is ready says this of itself and nothing else."""
    status, body = fetch(f"{stack.plan.http_urls[service]}/readyz")
    assert status == 200, body
    return bool(json.loads(body)["remarks"] == list(remarks))


def test_a_database_that_is_away_is_said_everywhere_and_keeps_nobody_from_working(
    stack: RunningStack,
) -> None:
    with_rows = (Service.AUDIT, Service.ROTATION_SCHEDULER)
    for service in with_rows:
        stack.until(partial(is_ready, stack, service), what=f"{service}, whatever was killed before")
    stack.hold(DATABASE)
    try:
        for service in with_rows:
            stack.until(partial(says, stack, service, "database-away"), what=f"{service}'s word")
            metrics = fetch(f"{stack.plan.http_urls[service]}/metrics")[1]
            assert 'rekey_remark{remark="database-away"} 1.0' in metrics
        lines = [
            line for line in stack.ask("adam", "doctor") if "its database does not answer" in line["what"]
        ]
        assert [line["what"].partition(":")[0] for line in lines] == ["rotation-scheduler", "audit"]
        assert {line["level"] for line in lines} == {"warn"}
        assert all(line["fix"].startswith("start the database") for line in lines)
        rotated = stack.rotate("webhook-mac")
        assert rotated.code == 0, rotated.err
    finally:
        stack.release(DATABASE)
    for service in with_rows:
        stack.until(partial(says, stack, service), what=f"{service}'s database")


def test_a_process_that_is_held_stays_down_until_it_is_released(stack: RunningStack) -> None:
    stack.hold("revocation")
    assert stack.keeper("revocation").pid is None

    stack.release("revocation")

    assert stack.keeper("revocation").is_ready


def test_a_rotation_is_waited_for_as_long_as_asked_also_while_nobody_can_decide_it(
    stack: RunningStack,
) -> None:
    stack.hold("rotation-scheduler")
    with ThreadPoolExecutor(1) as pool:
        rotating = pool.submit(stack.rotate, "webhook-mac")
        began = time.monotonic()
        stack.until(lambda: time.monotonic() > began + DECIDED_S + 1, what="longer than a decision takes")
        stack.release("rotation-scheduler")
        done = rotating.result()
    assert done.code == 0, done.err
    assert "nobody has said yet what became of it" in done.err, "who waits is told why"


def test_a_wrong_pin_is_tried_once_and_the_screen_says_why(stack: RunningStack) -> None:
    file = stack.layout.service("generator") / "pin"
    pin, before = file.read_text(), stack.keeper("generator").restarts
    stack.hold("generator")
    file.write_text("0000")
    try:
        with pytest.raises(NotReadyError, match="generator is not ready: token generator refuses the PIN"):
            stack.release("generator")
    finally:
        file.write_text(pin)
    assert "it is not started again" in stack.screen.getvalue()
    assert stack.keeper("generator").restarts == before

    stack.release("generator")

    rotated = stack.rotate("token-signer")
    assert rotated.code == 0, rotated.err


def test_a_stopped_key_ends_no_instance_and_a_rotation_replaces_it(stack: RunningStack) -> None:
    restarts = {name: stack.keeper(name).restarts for name in INSTANCES}

    stack.ask("rita", "suspend", "orders-db", "--reason", "test", "--yes")
    stack.until(lambda: stack.tally.totals().calls["encrypt"].refused > 0, what="a refusal to encrypt")
    rotated = stack.rotate("orders-db")
    assert rotated.code == 0, rotated.err

    assert {name: stack.keeper(name).restarts for name in INSTANCES} == restarts
    assert stack.tally.totals().failed_local == 0, stack.tally.failures()
