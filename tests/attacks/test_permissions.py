"""Every identity, with its real certificate on the real server, tries everything that it must not do.

Refused means: the server says so for every single attempt, no stream has one message more or less, no consumer of
somebody else has moved, and nobody heard anything. The attempts are generated from the authority table (attempts.py).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey_core.authority import CONSUMERS, STREAMS, Identity
from rekey_provision.rights import rights
from tests.attacks.attempts import (
    EVERYBODY,
    Who,
    concrete,
    covers,
    forbidden_publishes,
    forbidden_subscriptions,
    forbidden_targets,
    own_questions,
)
from tests.system.bus import ANSWER_S, RunningBus, running_bus
from tests.system.certificates import ENV

ids = [str(who) for who in EVERYBODY]
Snapshot = dict[str, Any]


@dataclass
class Member:
    """Somebody logged in, with everything that the server refused it."""

    who: Who
    client: Client
    refused: list[str]

    async def refusals(self, expected: int) -> None:
        """Wait until the server has said no so many times; its refusals may come after its pong."""
        until = asyncio.get_running_loop().time() + ANSWER_S
        while len(self.refused) < expected and asyncio.get_running_loop().time() < until:
            await self.client.flush()


@asynccontextmanager
async def logged_in(bus: RunningBus, who: Who) -> AsyncIterator[Member]:
    """With the real certificate."""
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error).lower())

    client = await bus.connect(who.identity, who.name, on_error=on_error)
    try:
        yield Member(who, client, refused)
    finally:
        await client.close()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBus]:
    """A bus with one message on every subject of the table, each stored by its rightful author."""
    with running_bus(tmp_path_factory.mktemp("permissions")) as running:
        asyncio.run(seed(running))
        yield running


async def seed(bus: RunningBus) -> None:
    """Every right to append is used once: the positive side of the table."""
    for who in EVERYBODY:
        if who.identity is Identity.PROVISIONER:
            continue  # its one message, the first trust document, is stored
        async with logged_in(bus, who) as member:
            for right in rights(who.identity, ENV, who.name or "*"):
                if right.server == "CORE" and not right.theirs.startswith("$JS"):
                    for subject in seeds(right.theirs):
                        answer = await ask(member, subject, b"seed")
                        assert "seq" in answer, (subject, answer)
            assert member.refused == []


async def ask(member: Member, subject: str, data: bytes) -> Any:
    """The server's answer."""
    return json.loads((await member.client.request(subject, data, timeout=ANSWER_S)).data)


def seeds(pattern: str) -> list[str]:
    """Subjects to fill: what a dependent reads is filled for both dependents."""
    if pattern.startswith(("ntc.", "stop.", "lse.")):
        return [concrete(pattern.replace("*", name, 1)) for name in ("orders", "billing")] + [
            concrete(pattern)
        ]
    return [concrete(pattern)]


async def snapshot(bus: RunningBus) -> Snapshot:
    """Every stream's content and every consumer's place, as the provisioner sees them."""
    found: Snapshot = {}
    async with logged_in(bus, Who(Identity.PROVISIONER)) as member:
        for stream in STREAMS:
            question = json.dumps({"subjects_filter": ">"}).encode()
            answer = await ask(member, f"JSC.API.STREAM.INFO.{stream.name}", question)
            state, subjects = answer["state"], answer["state"].get("subjects")
            found[stream.name] = (answer["config"], state["messages"], state["last_seq"], subjects)
        for consumer in CONSUMERS:
            place = f"{consumer.stream}.{consumer.name}"
            answer = await ask(member, f"JSC.API.CONSUMER.INFO.{place}", b"")
            at = (answer["delivered"], answer["ack_floor"], answer["num_ack_pending"])
            found[place] = (answer["config"], *at)
        found["streams"] = (await ask(member, "JSC.API.STREAM.NAMES", b""))["streams"]
    return found


def without_own(state: Snapshot, who: Who) -> Snapshot:
    """The snapshot without the places of the attacker's own consumers, which it may move."""
    mine = {f"{c.stream}.{c.name}" for c in CONSUMERS if c.identity is who.identity}
    return {name: value for name, value in state.items() if name not in mine}


@pytest.fixture
async def attack(bus: RunningBus, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Member, list[str]]]:
    """The attacker, and what everybody else hears meanwhile."""
    who: Who = request.param
    heard: list[str] = []
    async with AsyncExitStack() as members:
        attacker = await members.enter_async_context(logged_in(bus, who))
        before = await snapshot(bus)
        named = [other for other in EVERYBODY if other != who]
        others = [await members.enter_async_context(logged_in(bus, other)) for other in named]
        for other in others:
            await listen(other, who, heard)
        yield attacker, heard
        await attacker.client.flush()
        for other in others:
            await other.client.flush()
            assert other.refused == [], f"{other.who} could not listen"
    assert without_own(await snapshot(bus), who) == without_own(before, who)
    assert heard == []


async def listen(member: Member, attacker: Who, heard: list[str]) -> None:
    """Write down what somebody hears, but for requests that the attacker may make."""

    async def on_message(message: Msg) -> None:
        if not any(covers(pattern, message.subject) for pattern in attacker.may_publish()):
            heard.append(f"{member.who} heard {message.subject}: {message.data[:60]!r}")

    for subject in member.who.may_subscribe():
        await member.client.subscribe(subject, cb=on_message)
    await member.client.flush()


@pytest.mark.parametrize("attack", EVERYBODY, ids=ids, indirect=True)
async def test_nobody_publishes_what_is_not_its_own(attack: tuple[Member, list[str]]) -> None:
    attacker, _ = attack
    attempts = forbidden_publishes(attacker.who)
    for attempt in attempts:
        await attacker.client.publish(attempt.subject, attempt.data, reply=f"{attacker.who.inbox}.loot")
    await attacker.refusals(len(attempts))
    refused = {line.split('"')[1] for line in attacker.refused if '"' in line}
    assert [a.subject for a in attempts if a.subject.lower() not in refused] == []
    assert len(attempts) > 300
    sys.stdout.write(f"{attacker.who}: {len(attempts)} publishes refused\n")


@pytest.mark.parametrize("attack", EVERYBODY, ids=ids, indirect=True)
async def test_nobody_hears_what_is_not_its_own(attack: tuple[Member, list[str]]) -> None:
    attacker, _ = attack
    subjects = forbidden_subscriptions(attacker.who)
    for subject in subjects:
        await attacker.client.subscribe(subject)
        await attacker.client.subscribe(subject, queue=attacker.who.identity)
    await attacker.refusals(2 * len(subjects))
    assert len(attacker.refused) == 2 * len(subjects), attacker.refused[:3]
    sys.stdout.write(f"{attacker.who}: {2 * len(subjects)} subscriptions refused\n")


@pytest.mark.parametrize("attack", EVERYBODY, ids=ids, indirect=True)
async def test_a_forged_reply_subject_reaches_nobody(attack: tuple[Member, list[str]]) -> None:
    attacker, _ = attack
    targets = forbidden_targets(attacker.who)
    count = 0
    for subject, data, headers in own_questions(attacker.who):
        for target in targets:
            await attacker.client.publish(subject, data, reply=target, headers=headers or None)
            count += 1
    await attacker.client.flush()
    await asyncio.sleep(0.2)  # an answer takes a way through several accounts
    sys.stdout.write(f"{attacker.who}: {count} forged reply subjects\n")


BODIES = (
    b'{"multi_last": [">"]}',
    b'{"seq": 1, "batch": 100}',
    b'{"seq": 1, "batch": 100, "next_by_subj": ">"}',
    b'{"last_by_subj": ">"}',
)


@pytest.mark.parametrize("attack", EVERYBODY, ids=ids, indirect=True)
async def test_a_body_never_widens_a_right_to_one_subject(attack: tuple[Member, list[str]]) -> None:
    attacker, _ = attack
    inbox = attacker.client.new_inbox()
    loot: list[str] = []

    async def on_message(message: Msg) -> None:
        headers = message.headers or {}
        if headers.get("Nats-Subject"):
            loot.append(f"JSC.API.DIRECT.GET.{headers['Nats-Stream']}.{headers['Nats-Subject']}")

    await attacker.client.subscribe(inbox, cb=on_message)
    narrow = [
        p for p in attacker.who.may_publish() if p.startswith("JSC.API.DIRECT.GET.") and p.count(".") > 4
    ]
    for pattern in narrow:
        for body in BODIES:
            for subject in (concrete(pattern), pattern.replace("*", "1")):
                await attacker.client.publish(subject, body, reply=inbox)
    await attacker.client.flush()
    await asyncio.sleep(0.2)
    assert [place for place in loot if not any(covers(pattern, place) for pattern in narrow)] == []
    assert narrow, "everybody reads trust by subject"


HEADERS = {
    "Nats-Rollup": "all",
    "Nats-Schedule": "@at 2020-01-01T00:00:00Z",
    "Nats-TTL": "1s",
    "Nats-Incr": "1",
    "Nats-Trace-Dest": "_INBOX_audit.loot",
}


@pytest.mark.parametrize("attack", EVERYBODY, ids=ids, indirect=True)
async def test_no_header_purges_schedules_or_expires(attack: tuple[Member, list[str]]) -> None:
    attacker, _ = attack
    for pattern in (
        p for p in attacker.who.may_publish() if p.split(".")[0] not in {"$JS", "JSC", "req", "ask"}
    ):
        for name, value in HEADERS.items():
            headers = {name: value, "Nats-Schedule-Target": concrete(pattern) + "x"}
            headers |= {"Nats-Expected-Last-Subject-Sequence": "999999"} if name == "Nats-Trace-Dest" else {}
            await attacker.client.publish(concrete(pattern), b"forged", reply="", headers=headers)
    await attacker.client.flush()
    await asyncio.sleep(0.2)


async def test_everything_granted_works(bus: RunningBus) -> None:
    """The other side: no right of the table is refused, and each is answered."""
    count = 0
    for who in EVERYBODY:
        async with logged_in(bus, who) as member:
            await listen(member, who, [])
            for subject, data, headers in own_questions(who):
                if subject.split(".")[0] in {"req", "ask", "rst", "att"}:
                    continue  # answered by services: the system tests
                inbox = member.client.new_inbox()
                answers = await member.client.subscribe(inbox)
                await member.client.publish(subject, data, reply=inbox, headers=headers or None)
                answer = await answers.next_msg(ANSWER_S)
                assert (answer.headers or {}).get("Status") not in {"503", "408"}, (subject, answer)
                await answers.unsubscribe()
                count += 1
            assert member.refused == [], who
    sys.stdout.write(f"{count} rights used\n")
    assert count > 100
