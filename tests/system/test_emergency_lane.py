"""A responder's word stops a key while one of the two services that act on it is stopped; afterwards both agree.

Neither revocation nor distributor can silence the other (DESIGN §3): an application that runs all the time stops in both
cases, and what the present one does is seen on the bus: refusals and notice here, fact and stop there.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import nats
import pytest
from nats.aio.client import Client

import rekey
from rekey_core.authority import STREAMS, Identity, Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    Answer,
    KeyReceipt,
    Lease,
    LeaseAnswer,
    LeaseRequest,
    MaterialRequest,
    Notice,
    ProbeRequest,
    Receipt,
    RefusalAnswer,
    Request,
    Rotate,
    SignatureAnswer,
    Stop,
    Suspend,
)
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import sign
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_core.readers import endorse, open_answer
from rekey_core.room import LOOK_S
from rekey_core.sealing import SealingKey
from rekey_core.signing import SigningKey
from rekey_local.plan import HOST, SERVER_NAME
from rekey_local.settings import instance_settings
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from tests.attacks.intruder import Intruder, a_key, intruder, poll
from tests.system.stack import RunningStack, running_stack

DEPENDENT: Final = "orders"
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


@dataclass
class Instance:
    """An instance of orders that asks whatever it likes: the SDK would not ask for what is stopped."""

    watcher: Intruder
    client: Client
    key: SigningKey = field(default_factory=SigningKey.generate)

    async def ask(self, kind: type[Request], **said: object) -> Answer | None:
        """The distributor's answer; None for one that is sealed, and so holds material."""
        request = kind.model_validate(self._common() | said)
        subject = self.watcher.subjects.request(DEPENDENT, self.key.key_id, request.OP)
        data = sign(request, self.key).model_dump_json().encode()
        answer = await self.client.request(subject, data, timeout=5)
        if answer.headers:
            return None
        return open_answer(answer.data, self.watcher.trust, request, (LeaseAnswer, SignatureAnswer))

    async def material(self, key: str) -> Answer | None:
        """Asks for version 1."""
        return await self.ask(
            MaterialRequest, key=key, versions=(1,), seal_to=b64u_encode(SealingKey.generate().public_bytes())
        )

    async def probe(self, key: str) -> Answer | None:
        """Asks for a use of version 1 inside the HSM."""
        return await self.ask(ProbeRequest, key=key, version=1, phase="installed")

    async def lease(self, key: str) -> Answer | None:
        """Asks for a lease without proof of any version."""
        common = {k: v for k, v in self._common().items() if k not in {"nonce", "sent_at"}}
        held = {key: KeyReceipt(proofs={}, protects=None, stopped=(), refused=(), as_of=0)}
        receipt = Receipt.model_validate(common | {"n": 1, "at": datetime.now(UTC), "keys": held})
        return await self.ask(LeaseRequest, keys=(key,), receipt=sign(receipt, self.key))

    def _common(self) -> dict[str, object]:
        env, endorser = self.watcher.env, self.watcher.dependent_key(DEPENDENT)
        return {
            "env": env,
            "dependent": DEPENDENT,
            "instance": self.key.key_id,
            "endorsement": endorse(DEPENDENT, env, self.key.public_raw, endorser),
            "nonce": uuid.uuid4().hex,
            "sent_at": datetime.now(UTC),
        }


@asynccontextmanager
async def an_instance(watcher: Intruder) -> AsyncIterator[Instance]:
    """Logged in with the dependent's certificate."""
    directory = watcher.stack.layout.dependent(DEPENDENT)
    client = await nats.connect(
        watcher.stack.plan.bus_url,
        tls=tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt"),
        tls_hostname=SERVER_NAME,
        inbox_prefix=inbox(Identity.APPLICATION, DEPENDENT),
        allow_reconnect=False,
    )
    try:
        yield Instance(watcher, client)
    finally:
        await client.close()


@asynccontextmanager
async def an_application(stack: RunningStack, key: str) -> AsyncIterator[rekey.Keyring]:
    """A dependent that uses the key, and goes on."""
    settings = rekey.Settings.load(instance_settings(stack.layout, DEPENDENT, 1))
    async with rekey.connect(settings) as keys:
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
    assert isinstance(await instance.lease(data), LeaseAnswer)  # nothing is left that it would have to prove
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


async def test_with_revocation_stopped_the_distributor_stops_the_key(
    stack: RunningStack, watcher: Intruder
) -> None:
    data, token = a_key(), a_key("token")
    await watcher.registered(data)
    await watcher.registered(token, "token-signing")
    async with an_application(stack, data) as box, an_instance(watcher) as instance:
        ciphertext = box.encrypt(b"data", AAD)
        assert await instance.material(data) is None
        assert isinstance(await instance.probe(token), SignatureAnswer)
        assert len(published(watcher, token)) == 1
        before = await instance.lease(data)
        assert isinstance(before, RefusalAnswer)
        assert before.code == "not-installed"
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
    data, token = a_key(), a_key("token")
    await watcher.registered(data)
    await watcher.registered(token, "token-signing")
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
