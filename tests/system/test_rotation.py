"""What starts a rotation and what holds it up: time, a person, and an instance that does not answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.system.stack import INSTANCES, RunningStack, running_stack

KEY = "orders-db"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("rotation")) as running:
        yield running


def test_time_alone_rotates_a_key_whose_cryptoperiod_is_over(stack: RunningStack) -> None:
    registered = stack.rekey(
        "alice",
        *("key", "register", "orders-ticks", "--class", "application-data", "--purpose", "changes often"),
        *("--dependent", "orders", "--cryptoperiod", "2", "--reason", "test", "--wait", "30"),
    )
    assert registered.code == 0, registered.err
    stack.until(lambda: (stack.show("orders-ticks").current or 0) >= 3, what="the third version")
    entries = stack.history("orders-ticks").entries
    requests = [e for e in entries if e.event == "rotation-requested"]
    assert [e.person for e in requests] == [None] * len(requests), "nobody asked"
    versions = {v.version: v.state for v in stack.show("orders-ticks").versions}
    assert versions[1] == "deactivated"
    assert [e.void for e in entries if e.void] == []


def test_an_instance_that_does_not_answer_holds_its_rotation_up_and_is_named(stack: RunningStack) -> None:
    before = stack.show(KEY).current
    assert before is not None
    pid = stack.pid(INSTANCES[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        assert stack.rekey("alice", "key", "rotate", KEY, "--reason", "test").code == 0
        others = len(INSTANCES) - 1
        stack.until(lambda: count(stack, before + 1, "installed") == others, what="the others' proofs")
        told = stack.ask("adam", "adoption", f"{KEY}@{before + 1}")
        assert told["state"] == "pre-activation", told
        late = [i for d in told["dependents"] if d["dependent"] == "orders" for i in d["instances"]]
        assert sorted(i["installed"] for i in late) == [False, True]
        assert stack.show(KEY).current == before
    finally:
        os.kill(pid, signal.SIGCONT)
    stack.until(lambda: stack.show(KEY).current == before + 1, what="the end of the rotation")
    assert stack.tally.totals().failed_local == 0, stack.tally.failures()


def count(stack: RunningStack, version: int, phase: str) -> int:
    """How many live instances have proved the phase."""
    outcome = stack.rekey("adam", "adoption", f"{KEY}@{version}", "--output", "json")
    if outcome.code != 0:  # the version is not generated yet
        return 0
    told = json.loads(outcome.out)
    return sum(bool(i[phase]) for d in told["dependents"] for i in d["instances"])
