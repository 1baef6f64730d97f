"""A responder's word stops a key while one of the two services that act on it is stopped; afterwards both agree.

Neither revocation nor distributor can silence the other (DESIGN §3): an application that runs all the time stops in both
cases, and what the present one does is seen on the bus: refusals and notice here, fact and stop there.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

import rekey
from rekey_core.authority import STREAMS, Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    Lease,
    LeaseAnswer,
    Notice,
    RefusalAnswer,
    Resume,
    Rotate,
    SignatureAnswer,
    SignedCommand,
    Stop,
    Suspend,
)
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_core.room import LOOK_S
from rekey_local.plan import HOST
from rekey_local.settings import instance_settings
from tests.attacks.intruder import Intruder, a_key, intruder, poll
from tests.system.asking import DEPENDENT, Instance, an_instance
from tests.system.stack import RunningStack, running_stack

AAD: Final = b"row 7"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("emergency"), registered=False, instances=False) as running:
        yield running


@pytest.fixture
async def watcher(stack: RunningStack) -> AsyncIterator[Intruder]:
    """Sees the bus from inside."""
    async with intruder(stack) as one:
        yield one


@asynccontextmanager
async def an_application(
    stack: RunningStack, key: str, hear: Callable[[rekey.Resumed], None] = lambda _: None
) -> AsyncIterator[rekey.Keyring]:
    """A dependent that uses the key, and goes on; ``hear``: what is told of a version that can be used again."""
    settings = rekey.Settings.load(instance_settings(stack.layout, DEPENDENT, 1))
    async with rekey.connect(settings) as keys:
        keys.on_resumed(hear)
        box = await keys.keyring(key)
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
        yield box


async def stopped(box: rekey.Keyring, ciphertext: bytes) -> None:
    """The application neither protects nor processes any more, and knows on whose word."""

    async def refused() -> bool | None:
        try:
            box.encrypt(b"data", AAD)
        except rekey.VersionSuspendedError:
            return True
        return None

    assert await poll(refused)
    with pytest.raises(rekey.VersionSuspendedError, match="rita"):
        box.decrypt(ciphertext, AAD)


async def suspend(watcher: Intruder, key: str) -> bytes:
    """Rita suspends version 1; the command's payload as it stands in messages that carry it."""
    return (await watcher.give(watcher.command(Suspend, "rita", key, version=1))).payload.encode()


async def notice_says(watcher: Intruder, key: str, said: bytes) -> None:
    """The distributor's notice carries the command and gives the version to nobody."""
    subject = watcher.subjects.notice(DEPENDENT, key)
    found = await watcher.message(Stream.NOTICES, subject, lambda m: said in m.data)
    notice = Notice.model_validate_json(found.data)
    assert ([s.version for s in notice.stopped], notice.current, notice.versions) == ([1], None, ())


async def stop_says(watcher: Intruder, key: str, said: bytes) -> None:
    """Revocation's stop carries the command."""
    subject = watcher.subjects.stop(DEPENDENT, key)
    found = await watcher.message(Stream.NOTICES, subject, lambda m: said in m.data)
    assert [s.version for s in Stop.model_validate_json(found.data).stopped] == [1]


async def refuses(watcher: Intruder, instance: Instance, data: str, token: str) -> None:
    """The distributor gives no release, no use, no public key, and no lease with the version in it."""
    for answer in (await instance.material(data), await instance.probe(token)):
        assert isinstance(answer, RefusalAnswer)
        assert (answer.code, answer.retry) == ("state-refused", False)
    leased = await instance.lease(data)
    assert isinstance(leased, LeaseAnswer)
    assert set(leased.keys) == {data}, "nothing is left that it would have to prove"
    stored = await watcher.last(Stream.LEASES, watcher.subjects.lease(DEPENDENT, instance.key.key_id))
    assert stored is not None
    assert Lease.model_validate_json(stored.data).keys[data].versions == ()
    assert published(watcher, token) == []


def published(watcher: Intruder, key: str) -> list[object]:
    """The public keys that the distributor serves over HTTP."""
    plan = watcher.stack.plan
    connection = http.client.HTTPConnection(HOST, plan.http_ports[Service.DISTRIBUTOR], timeout=5)
    try:
        connection.request("GET", f"/{plan.env}/{key}/jwks.json")
        keys: list[object] = json.loads(connection.getresponse().read())["keys"]
        return keys
    finally:
        connection.close()


async def agreed(watcher: Intruder, key: str, said: bytes) -> None:
    """Fact, notice and stop say the same."""
    state = await watcher.until(key, lambda s: s.versions[1].state is VersionState.SUSPENDED)
    assert (state.current, state.voids) == (None, ())
    await notice_says(watcher, key, said)
    await stop_says(watcher, key, said)


async def two_keys(watcher: Intruder) -> tuple[str, str]:
    """One whose versions the dependent holds, and one whose versions stay in the HSM."""
    data, token = a_key(), a_key("token")
    await watcher.registered(data)
    await watcher.registered(token, "token-signing")
    return data, token


async def test_with_revocation_stopped_the_distributor_stops_the_key(
    stack: RunningStack, watcher: Intruder
) -> None:
    data, token = await two_keys(watcher)
    async with an_application(stack, data) as box, an_instance(watcher) as instance:
        ciphertext = box.encrypt(b"data", AAD)
        assert await instance.material(data) is None
        assert isinstance(await instance.probe(token), SignatureAnswer)
        assert len(published(watcher, token)) == 1
        before = await instance.lease(data)
        assert isinstance(before, LeaseAnswer)
        assert before.refused[data].code == "not-installed"
        stack.hold("revocation")
        said = {key: await suspend(watcher, key) for key in (data, token)}
        for key, word in said.items():
            await notice_says(watcher, key, word)
        await stopped(box, ciphertext)
        await refuses(watcher, instance, data, token)
        assert (await watcher.state(data)).versions[1].state is VersionState.ACTIVE  # nobody has said it yet
        stack.release("revocation")
        for key, word in said.items():
            await agreed(watcher, key, word)
        await refuses(watcher, instance, data, token)


async def test_with_the_distributor_stopped_revocation_stops_the_key(
    stack: RunningStack, watcher: Intruder
) -> None:
    data, token = await two_keys(watcher)
    async with an_application(stack, data) as box, an_instance(watcher) as instance:
        ciphertext = box.encrypt(b"data", AAD)
        stack.hold("distributor")
        said = {key: await suspend(watcher, key) for key in (data, token)}
        for key, word in said.items():
            await watcher.until(key, lambda s: s.versions[1].state is VersionState.SUSPENDED)
            await stop_says(watcher, key, word)
        await stopped(box, ciphertext)
        notice = await watcher.last(Stream.NOTICES, watcher.subjects.notice(DEPENDENT, data))
        assert notice is not None
        assert Notice.model_validate_json(notice.data).stopped == ()  # nobody has said it there yet
        stack.release("distributor")
        for key, word in said.items():
            await agreed(watcher, key, word)
        await refuses(watcher, instance, data, token)


async def resume(watcher: Intruder, key: str) -> SignedCommand:
    """Rita and alice lift what stops version 1, as they see it now."""
    state = await watcher.state(key)
    said = {"version": 1, "seen": state.last_sequence, "lifts": state.versions[1].lifts}
    return await watcher.give_by_two(watcher.command(Resume, "rita", key, **said), "alice")


async def lives(watcher: Intruder, key: str) -> None:
    """The log says so, and no message of revocation stops anything any more."""
    state = await watcher.until(key, lambda s: s.current == 1)
    assert (state.versions[1].state, state.voids) == (VersionState.ACTIVE, ())
    subject = watcher.subjects.stop(DEPENDENT, key)
    await watcher.message(Stream.NOTICES, subject, lambda m: Stop.model_validate_json(m.data).stopped == ())


async def used_again(box: rekey.Keyring, ciphertext: bytes) -> None:
    """The application that refused protects and processes again, what was protected before included."""

    async def is_used() -> bool | None:
        try:
            return (
                box.decrypt(ciphertext, AAD) == box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data" or None
            )
        except rekey.RekeyError:
            return None

    assert await poll(is_used)


@pytest.mark.parametrize("away", ["revocation", "distributor"])
async def test_a_resumed_key_is_used_again_once_both_services_are_there_and_after_their_restart(
    stack: RunningStack, watcher: Intruder, away: str
) -> None:
    data, token = await two_keys(watcher)
    heard: list[rekey.Resumed] = []
    async with an_application(stack, data, heard.append) as box, an_instance(watcher) as instance:
        ciphertext = box.encrypt(b"data", AAD)
        for key in (data, token):
            await agreed(watcher, key, await suspend(watcher, key))
        await stopped(box, ciphertext)
        stack.hold(away)
        said = [await resume(watcher, key) for key in (data, token)]
        if away == "distributor":
            for key in (data, token):
                await lives(watcher, key)
        with pytest.raises(rekey.VersionSuspendedError):
            box.decrypt(ciphertext, AAD)
        stack.release(away)
        for key in (data, token):
            await lives(watcher, key)
        await used_again(box, ciphertext)
        for name in ("revocation", "distributor"):
            stack.hold(name)
            stack.release(name)
        assert await instance.material(data) is None
        assert isinstance(await instance.probe(token), SignatureAnswer)
        assert len(published(watcher, token)) == 1
        await used_again(box, ciphertext)
        await agreed(
            watcher, data, await suspend(watcher, data)
        )  # the resume that lies there lifts nothing again
        again = watcher.subjects.command("resume", data, command_id(said[0]))
        assert await watcher.last(Stream.COMMANDS, again) is not None
        await stopped(box, ciphertext)
    assert heard == [rekey.Resumed(data, 1)]


def test_two_people_resume_what_they_have_seen_and_nothing_else(stack: RunningStack, tmp_path: Path) -> None:
    """On the command line, from the plan to the history."""
    key, body = a_key(), tmp_path / "body"
    said = ("--class", "application-data", "--purpose", "rows", "--dependent", "orders", "--reason", "new")
    assert stack.rekey("alice", "key", "register", key, *said, "--wait", "30").code == 0
    version, file, by = f"{key}@1", str(body), ("--reason", "found again")
    early = stack.rekey("rita", "resume", version, *by, "--plan")
    assert (early.code, f"{version} is active, expected suspended" in early.err) == (5, True)
    stop = ("rita", "suspend", version, "--reason", "a drill", "--yes")
    assert stack.rekey(*stop).code == 0
    assert "is active and current again" in stack.rekey("rita", "resume", version, *by, "--plan").out
    assert stack.rekey("rita", "resume", version, *by, "--out", file).code == 0
    assert stack.rekey("alice", "sign", file, "--yes").code == 0
    assert stack.rekey(*stop).code == 0, "another suspension, which neither of them has seen"
    send = ("rita", "resume", version, "--body", file, "--cosign", f"{file}.sig")
    stale = stack.rekey(*send)
    assert (stale.code, f"rekey resume {version} --reason WHY --out BODY" in stale.err) == (5, True)
    for old in (body, Path(f"{body}.sig")):
        old.unlink()
    assert stack.rekey("rita", "resume", version, *by, "--out", file).code == 0
    assert stack.rekey("alice", "sign", file, "--yes").code == 0
    done = stack.rekey(*send, "--wait", "30")
    assert done.code == 0, done.err
    assert stack.show(key).current == 1
    assert "(resume with alice)" in stack.rekey("alice", "key", "history", key).out
    assert stack.rekey(*send).code == 5, "it is used up"


async def limited(watcher: Intruder, max_bytes: int) -> int:
    """LIFECYCLE takes this much from now on; how much is in it."""
    answer = await watcher.client.request(f"$JS.API.STREAM.INFO.{Stream.LIFECYCLE}", b"", timeout=5)
    info = json.loads(answer.data)
    config = info["config"] | {"max_bytes": max_bytes}
    subject = f"$JS.API.STREAM.UPDATE.{Stream.LIFECYCLE}"
    answer = await watcher.client.request(subject, json.dumps(config).encode(), timeout=5)
    assert "error" not in json.loads(answer.data), answer.data
    return int(info["state"]["bytes"])


@asynccontextmanager
async def small_lifecycle(watcher: Intruder) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
    """A way to make LIFECYCLE as full as one likes, whatever is in it; at the end it is as it was founded."""
    founded = next(config.max_bytes for config in STREAMS if config.name is Stream.LIFECYCLE)

    async def sized(share: float) -> None:
        await limited(watcher, int(await limited(watcher, founded) / share) + 1)

    try:
        yield sized
    finally:
        await limited(watcher, founded)


async def is_refused(watcher: Intruder, key: str) -> bool:
    """Whether a rotation that is asked for now is refused for want of room; it may have begun instead."""
    signed = await watcher.give(watcher.command(Rotate, "alice", key))
    subject = watcher.subjects.command("rotate", key, command_id(signed))

    async def outcome() -> bool | None:
        if 2 in (await watcher.state(key)).versions:
            return False
        said = [json.loads(m.data) for m in watcher.heard]
        return True if "no-room" in [s["code"] for s in said if s["subject"] == subject] else None

    return await poll(outcome)


async def a_refused_rotation(watcher: Intruder, keys: list[str]) -> str:
    """The scheduler looks by itself, LOOK_S later at most: what is asked for before that begins."""
    for key in keys:
        if await is_refused(watcher, key):
            return key
        await asyncio.sleep(LOOK_S)
    raise AssertionError("every rotation began")


async def has_room_again(watcher: Intruder, newcomer: Instance, key: str) -> None:
    """Each service has looked: what was refused goes on, and the next test finds a bus like any other."""
    while await is_refused(watcher, key):  # noqa: ASYNC110 - what is waited for happens in other processes
        await asyncio.sleep(LOOK_S / 5)
    await watcher.until(key, lambda state: state.current == 2)

    async def given() -> bool | None:
        return True if await newcomer.material(key) is None else None

    await poll(given)


async def test_a_stop_gets_through_when_there_is_no_room_for_anything_else(watcher: Intruder) -> None:
    first, second, *others = [a_key() for _ in range(5)]
    for key in (first, second, *others):
        await watcher.registered(key)
    async with an_instance(watcher) as holder:
        for key in (first, second):
            assert await holder.material(key) is None
        async with small_lifecycle(watcher) as sized:
            await sized(0.87)

            async def looked() -> bool | None:
                newcomer = Instance(watcher, holder.client)  # fresh: what was delivered before is given again
                said = await newcomer.material(first)
                return True if isinstance(said, RefusalAnswer) and said.retry else None

            await poll(looked)
            assert await holder.material(first) is None, "what was delivered is given again"
            refused = await a_refused_rotation(watcher, others)
            await sized(0.87)  # again: what began before the look takes much of so small a stream
            await agreed(watcher, first, await suspend(watcher, first))
            await sized(1.0)  # not even a fact fits: the other lane stops the key
            said = await suspend(watcher, second)
            await notice_says(watcher, second, said)
            answer = await holder.material(second)
            assert isinstance(answer, RefusalAnswer)
            assert answer.code == "state-refused"
            assert (await watcher.state(second)).versions[1].state is VersionState.ACTIVE
        await agreed(watcher, second, said)
        await has_room_again(watcher, Instance(watcher, holder.client), refused)
