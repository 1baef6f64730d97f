"""What starts a rotation and what holds it up: time, a person, and an instance that does not answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rekey.cli.errors import AnsweredError
from rekey_core.contracts import Force, Rotate, RotationRequested, Whom
from rekey_core.envelope import pack
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.tracecontext import Attribute
from rekey_local.ca import DevelopmentCa
from rekey_local.layout import write_private
from rekey_runtime.about import EVENTS
from tests.attacks.forging import a_fact
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.system.identities import fetch, identities, renewal, signing_key
from tests.system.spans import Tree, written
from tests.system.stack import INSTANCES, RunningStack, running_stack, stopped

KEY = "orders-db"
ROTATE = ("key", "rotate", KEY, "--reason", "test")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("rotation"), load=()) as running:
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
    failed_before = stack.tally.totals().failed_local
    before = settled(stack)
    pid = stack.pid(INSTANCES[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        assert stack.rekey("alice", "key", "rotate", KEY, "--reason", "test").code == 0
        others = len(INSTANCES) - 1
        stack.until(lambda: count(stack, before + 1, "installed") == others, what="the others' proofs")
        told = stack.ask("adam", "adoption", f"{KEY}@{before + 1}")
        assert told["state"] == "pre-activation", json.dumps(told)
        late = [i for d in told["dependents"] if d["dependent"] == "orders" for i in d["instances"]]
        assert sorted(i["installed"] for i in late) == [False, True]
        assert stack.show(KEY).current == before
    finally:
        os.kill(pid, signal.SIGCONT)
    stack.until(lambda: stack.show(KEY).current == before + 1, what="the end of the rotation")
    assert stack.tally.totals().failed_local == failed_before, stack.tally.failures()


def test_who_is_missing_after_the_deadline_is_named_everywhere_and_waived_by_its_owner(
    stack: RunningStack,
) -> None:
    version = settled(stack) + 1
    with stopped(stack, INSTANCES[0]):
        late = stack.rekey("alice", *ROTATE, "--deadline", "1", "--wait", "6")
        assert late.code == 6, late.err
        stack.until(lambda: missing_of(stack) == 1, what="the others' proofs")
        [missing] = stack.ask("adam", "key", "show", KEY)["waiting"]["missing"]
        dependent, _, instance = missing.partition("/")
        assert dependent == "orders"
        said = rf"not installed since \S+Z, deadline \S+Z passed: .*orders/{instance[:8]}"
        assert re.search(said, late.err), late.err
        stack.until(lambda: f"orders/{instance}" in stack.log("audit"), what="the alarm of the scheduler")
        target, named = f"{KEY}@{version}", ("--dependent", "orders", "--instance", instance)
        done = stack.rekey("alice", "key", "waive", target, *named, "--reason", "off", "--wait", "30")
        assert done.code == 0, done.err
    entries = [e for e in stack.history(KEY).entries if e.version == version]
    assert [(e.person, e.detail) for e in entries if e.event == "waived"] == [
        ("alice", f"not waited for: {missing}")
    ]
    assert [missing in e.detail for e in entries if e.event == "activated"] == [True]
    has_caught_up(stack, version)


async def test_an_instance_that_was_off_for_three_rotations_catches_up(stack: RunningStack) -> None:
    """Off is a process that does not run. While it has a lease, two people force; without one nobody waits for it."""
    first = settled(stack) + 1
    async with intruder(stack) as people:
        with stopped(stack, INSTANCES[1]):
            forced = [await rotated_past_one(stack, people, version) for version in range(first, first + 3)]
    assert len(forced[0]) == 1, "it had a lease when it began"
    assert {whom.dependent for waived in forced for whom in waived} == {"orders"}
    has_caught_up(stack, first + 2)


async def rotated_past_one(stack: RunningStack, people: Intruder, version: int) -> frozenset[Whom]:
    """Whom two people forced the rotation past."""
    await people.give(people.command(Rotate, "alice", KEY, deadline_s=1))
    state = await people.until(KEY, lambda s: version in s.versions)
    deadline = state.versions[version].requested.model.deadline

    def is_due() -> bool:
        told = stack.adoption(KEY, version)
        return told.state == "active" or (told.at > deadline and missing_of(stack) == 1)

    stack.until(is_due, what="one who is missing")
    if stack.adoption(KEY, version).state == "pre-activation":
        await people.give_by_two(people.command(Force, "alice", KEY, version=version), "rita")
    state = await people.until(KEY, lambda s: len(_active(s)) == 1 and s.current == version, within_s=60)
    assert state.voids == ()
    return state.versions[version].waived


def _active(state: KeyState) -> list[int]:
    return [n for n, v in state.versions.items() if v.state in ("pre-activation", "active")]


def missing_of(stack: RunningStack) -> int:
    """How many the rotation waits for."""
    told = stack.adoption(KEY)
    return len(told.waiting.missing) if told.waiting else 0


def settled(stack: RunningStack) -> int:
    """The current version, once no rotation is under way."""
    stack.until(lambda: at_rest(stack), what="the end of the rotation before")
    current = stack.show(KEY).current
    assert current is not None
    return current


def at_rest(stack: RunningStack) -> bool:
    """Whether no rotation of the key is under way: not one that waits for nobody and has a step to take, either."""
    states = [version.state for version in stack.show(KEY).versions]
    return (states.count("active"), states.count("pre-activation")) == (1, 0)


def has_caught_up(stack: RunningStack, version: int) -> None:
    """Every instance protects with the version, and from then on no local call fails."""

    def everybody() -> bool:
        told = stack.adoption(KEY, version)
        proofs = [i.installed and i.switched for d in told.dependents for i in d.instances]
        return len(proofs) == len(INSTANCES) and all(proofs)

    stack.until(everybody, what="the one that was off")
    stack.until(
        lambda: {r.current.get(KEY) for r in stack.tally.newest.values()} == {version},
        what="everybody's word",
    )
    before = stack.tally.totals()
    stack.until(lambda: stack.tally.totals().all_calls > before.all_calls + 200, what="calls")
    assert stack.tally.totals().failed_local == before.failed_local, stack.tally.failures()


# each row: somewhere above a span of the second name there is one of the first, or of the other name behind the bar
STEPS = [
    ("command rotate", "append rotation-requested"),
    ("append rotation-requested", "append generated"),
    ("append rotation-requested", "append backed-up"),
    (
        "append generated|append backed-up",
        "append notice",
    ),  # whichever was the newest fact when it was written
    ("append notice", "answer material"),
    ("answer material", "append delivered"),
    ("append notice", "follow"),
    ("follow", "process receipt"),
    ("process receipt", "append activated"),
    ("append activated", "follow"),
    ("append activated", "append deactivated"),
    ("process receipt", "append deactivated"),
]
SERVICES = {"generator", "distributor", "rotation-scheduler", "audit"}


def test_a_rotation_is_one_tree_from_the_command_to_the_last_receipt(stack: RunningStack) -> None:
    settled(stack)
    result = stack.ask("alice", "key", "rotate", KEY, "--reason", "a trace", "--wait", "60")
    trees: list[Tree] = []

    def complete() -> bool:
        trees[:] = [Tree(written(stack.layout.root), result["trace"])]
        done = [s for s in trees[0].named("process deactivated") if s.service in {"audit", "distributor"}]
        return len({span.service for span in done}) == 2 and not trees[0].orphans

    stack.until(complete, what="the last span")
    (tree,) = trees
    assert [root.name for root in tree.roots] == ["command rotate"]
    assert [step for step in STEPS if not tree.leads(*step)] == []
    assert {span.service for span in tree.spans.values()} >= SERVICES
    followers = {span.attributes["rekey.instance"] for span in tree.named("follow")}
    assert len(followers) == len(INSTANCES), "every instance is in the tree"
    (fact,) = tree.named("append activated")
    assert fact.attributes["rekey.key"] == KEY
    steps: list[str] = []

    def logged() -> bool:
        lines = [json.loads(line) for line in whole_lines(stack, "rotation-scheduler") if '"step"' in line]
        steps[:] = [line["event"] for line in lines if line.get("trace_id") == result["trace"]]
        return len(steps) == 2

    stack.until(logged, what="log lines that are found by the trace")
    assert steps == ["activated", "deactivated"]


def test_spans_say_names_from_the_list_and_nothing_else(stack: RunningStack) -> None:
    spans = written(stack.layout.root)
    assert spans
    assert {key for span in spans for key in span.attributes} <= set(Attribute)
    kinds = {"command", "append", "process", "answer", "step", "notice", "stop", "follow"}
    assert {span.name.partition(" ")[0] for span in spans} <= kinds
    assert {span.name.partition(" ")[2] for span in spans} <= EVENTS | {""}


@pytest.mark.parametrize("service", list(Service))
def test_a_service_says_how_it_is_on_loopback(stack: RunningStack, service: Service) -> None:
    url = stack.plan.http_urls[service]
    assert fetch(f"{url}/livez")[0] == 200
    status, body = fetch(f"{url}/readyz")
    told = json.loads(body)
    assert (status, told["failed"]) == (200, [])
    software = service in {Service.GENERATOR, Service.DISTRIBUTOR}
    assert told["remarks"] == (["software-keys"] if software else [])
    status, text = fetch(f"{url}/metrics")
    assert status == 200
    assert f'rekey_ready{{service="{service}"}} 1.0' in text
    assert KEY not in text
    assert not [name for name in INSTANCES if name in text]


def test_doctor_looks_at_every_service_of_a_stack(stack: RunningStack) -> None:
    lines = stack.ask("adam", "doctor")
    assert [line for line in lines if line["level"] == "fail"] == []
    said = [line["what"] for line in lines]
    assert [f"{service}: ready" for service in Service if f"{service}: ready" not in said] == []
    software = [line["what"].partition(":")[0] for line in lines if "in software" in line["what"]]
    assert software == ["generator", "distributor"], "nobody takes SoftHSM for an HSM"


def whole_lines(stack: RunningStack, name: str) -> list[str]:
    """Of a process's log: the last one may be half-written."""
    return stack.log(name).split("\n")[:-1]


def count(stack: RunningStack, version: int, phase: str) -> int:
    """How many live instances have proved the phase."""
    try:
        told = stack.adoption(KEY, version)
    except AnsweredError:  # the version is not generated yet
        return 0
    return sum(bool(getattr(i, phase)) for d in told.dependents for i in d.instances)


async def test_every_service_gets_a_new_certificate_and_signing_key_while_it_works(
    stack: RunningStack,
) -> None:
    """No process starts again, no call fails, a rotation goes on; the old signing key is worthless from then on."""
    settled(stack)
    old_keys = {service: signing_key(stack, service) for service in Service}
    before, failed = identities(stack), stack.tally.totals().failed
    pids = {name: stack.pid(name) for name in (*Service, *INSTANCES)}
    put_another_s_certificate(stack, "orders")
    with await asyncio.to_thread(renewal, stack) as renewing:
        while renewing.poll() is None:
            rotated = await asyncio.to_thread(stack.rotate, KEY)
            assert rotated.code == 0, rotated.err
        said, words = renewing.communicate()
    assert renewing.returncode == 0, words
    assert json.loads(said) == {"services": list(Service), "planned": False}
    assert {name: stack.pid(name) for name in (*Service, *INSTANCES)} == pids
    after = identities(stack)
    for service in Service:
        assert after[service]["certificate"] != before[service]["certificate"], service
        assert after[service]["signing_key"] == signing_key(stack, service).key_id, service
        assert after[service]["signing_key"] != old_keys[service].key_id, service
    kept = "certificate, the one before stays in use"
    await asyncio.to_thread(stack.until, lambda: kept in stack.log(INSTANCES[0]), what="the mistake, named")
    DevelopmentCa.found(stack.layout.ca, stack.plan.env).renew_client(
        stack.layout.dependent("orders"), "application/orders"
    )
    calls = stack.tally.totals().all_calls
    await asyncio.to_thread(stack.until, lambda: stack.tally.totals().all_calls > calls + 200, what="calls")
    assert stack.tally.totals().failed == failed, stack.tally.failures()
    async with intruder(stack) as thief:
        key = a_key()
        state = await thief.registered(key)
        assert state.voids == ()
        deadline = datetime.now(UTC) + timedelta(hours=1)
        fact = a_fact(RotationRequested, state, 2, "time-2", reason="time", deadline=deadline)
        subject = thief.subjects.fact(key, 2, fact.author, fact.EVENT, fact.id.hex)
        packed = pack(fact, old_keys[Service.ROTATION_SCHEDULER], source="/rekey/dev/rotation-scheduler")
        await thief.store(subject, packed.data, packed.headers)
        alarm = await thief.report(Service.AUDIT, subject)
        assert alarm.code == "wrong-author"
        state = await thief.state(key)
        assert [void.subject for void in state.voids] == [subject]
        assert list(state.versions) == [1], "nothing came of it"


def put_another_s_certificate(stack: RunningStack, dependent: str) -> None:
    """A mistake: the certificate is the other dependent's, the key is not."""
    other = stack.layout.dependent("billing") / "tls.crt"
    write_private(stack.layout.dependent(dependent) / "tls.crt", other.read_bytes())
