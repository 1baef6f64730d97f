"""Somebody who controls the bus of a running stack: a user in the streams' own account, and every signing key to try.

The configuration never has such a user (nobody logs in to CORE); it is added by hand, as an attacker on the bus machine
would, so that each service is met with messages that permissions would have kept away.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey_core.authority import CONSUMERS, Stream, Subjects
from rekey_core.commands import command_id, cosigned, payload_of, sign_command
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    Alert,
    Command,
    Fact,
    Message,
    Refusal,
    Register,
    Rotate,
    SignedCommand,
    SignedTrust,
)
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import BusMessage, Packed, Void, pack, unpack_or_void
from rekey_core.fold import KeyState, fold
from rekey_core.names import Service
from rekey_core.readers import open_fact, open_report
from rekey_core.signing import SigningKey
from rekey_core.sshsig import sign as ssh_sign
from rekey_core.trust import Trust
from rekey_local.bus import render
from rekey_local.ca import DevelopmentCa
from rekey_local.plan import SERVER_NAME
from rekey_provision.settings import tls_context
from rekey_rotation_scheduler.planner import rotation
from rekey_runtime import wire
from tests.fakes.resigned import resigned
from tests.system.bus import ANSWER_S
from tests.system.stack import NATS, RunningStack

NAME: Final = "intruder"
WITHIN_S: Final = 60.0  # much longer than anything takes: a busy machine stands still for seconds
T = TypeVar("T")
_CORE: Final = "  CORE {\n    jetstream: enabled\n    users: [\n"


@dataclass
class Intruder:
    """Publishes anything anywhere, reads everything, and hears every report as it is stored."""

    stack: RunningStack
    client: Client
    trust: Trust
    heard: list[Msg] = field(default_factory=list)

    @property
    def env(self) -> str:
        """The environment that was taken over."""
        return self.stack.plan.env

    @property
    def subjects(self) -> Subjects:
        """Its subjects."""
        return Subjects(self.env)

    def key_of(self, service: Service) -> SigningKey:
        """A service's real signing key."""
        return SigningKey.from_pem((self.stack.layout.service(service) / "signing.key").read_bytes())

    def dependent_key(self, name: str) -> SigningKey:
        """A dependent's real signing key."""
        return SigningKey.from_pem((self.stack.layout.dependent(name) / "signing.key").read_bytes())

    def pack(self, model: Message, service: Service) -> Packed:
        """Signed as this service would."""
        return pack(model, self.key_of(service), source=f"/rekey/{self.env}/{service}")

    def command(self, kind: type[Command], author: str, key: str, **said: Any) -> Command:
        """A person's command of now."""
        now = datetime.now(UTC)
        common = {"env": self.env, "key": key, "author": author, "nonce": uuid.uuid4().hex}
        times = {"author_seq": 1, "issued_at": now, "expires_at": now + timedelta(minutes=5)}
        return kind.model_validate({**common, **times, "reason": "a test", **said})

    def signed(self, command: Command, by: str | None = None) -> SignedCommand:
        """Signed by its author, or by somebody else."""
        person = self.stack.layout.person(by or command.author)
        return sign_command(command, (person / "id_ed25519").read_bytes())

    async def store(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Have the bus store it; its sequence."""
        answer = await self.client.request(subject, data, timeout=ANSWER_S, headers=dict(headers or {}))
        return wire.acknowledged(answer.data, where=subject)

    async def append(self, fact: Fact, service: Service) -> str:
        """Store a fact, signed as this service, on the subject that it belongs on; the subject."""
        subject = self.subjects.fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
        packed = self.pack(fact, service)
        await self.store(subject, packed.data, packed.headers)
        return subject

    async def unheard_of(self, key: str) -> None:
        """Store a fact of a type that no program knows, rightly signed by the scheduler."""
        service = Service.ROTATION_SCHEDULER
        signed = self.signed(self.command(Rotate, "alice", key))
        fact = rotation(await self.state(key), signed, datetime.now(UTC))
        packed = self.pack(fact, service)
        headers = resigned(packed, packed.data, "rekey.key.blessed.v1", self.key_of(service))
        subject = self.subjects.fact(key, fact.version, service, "blessed", fact.id.hex)
        await self.store(subject, packed.data, headers)

    async def give(self, command: Command, by: str | None = None) -> SignedCommand:
        """Store a command where the command line would."""
        signed = self.signed(command, by)
        subject = self.subjects.command(command.VERB, command.key, command_id(signed))
        await self.store(subject, signed.model_dump_json().encode())
        return signed

    async def give_by_two(self, command: Command, other: str) -> SignedCommand:
        """Store a command that another person signs too."""
        key = (self.stack.layout.person(other) / "id_ed25519").read_bytes()
        signed = cosigned(
            self.signed(command), ssh_sign(key, payload_of(command), COMMAND_NAMESPACE), self.trust
        )
        subject = self.subjects.command(command.VERB, command.key, command_id(signed))
        await self.store(subject, signed.model_dump_json().encode())
        return signed

    async def last(self, stream: Stream, subject: str) -> BusMessage | None:
        """The newest message that matches."""
        question = json.dumps({"last_by_subj": subject}).encode()
        answer = await self.client.request(f"$JS.API.STREAM.MSG.GET.{stream}", question, timeout=ANSWER_S)
        return wire.leader_answer(stream, answer.data)

    async def state(self, key: str) -> KeyState:
        """The key, folded from the log."""
        items = []
        sequence = 0
        while message := await self._next(f"evt.{self.env}.{key}.>", sequence + 1):
            sequence = message.sequence
            items.append(unpack_or_void(message, lambda m: open_fact(m, self.trust)))
        return fold(self.env, key, items, self.trust)

    async def _next(self, subject: str, start: int) -> BusMessage | None:
        question = json.dumps({"seq": start, "next_by_subj": subject}).encode()
        answer = await self.client.request(
            f"$JS.API.STREAM.MSG.GET.{Stream.LIFECYCLE}", question, timeout=ANSWER_S
        )
        return wire.leader_answer(Stream.LIFECYCLE, answer.data)

    async def registered(
        self,
        key: str,
        key_class: str = "application-data",
        dependents: tuple[str, ...] = ("billing", "orders"),
    ) -> KeyState:
        """Register a key by alice's command, and wait until the services have made and activated version 1."""
        said = {"key_class": key_class, "purpose": "rows", "dependents": dependents}
        await self.give(self.command(Register, "alice", key, **said))
        return await self.until(key, lambda state: state.current == 1)

    async def until(
        self, key: str, is_true: Callable[[KeyState], bool], *, within_s: float = WITHIN_S
    ) -> KeyState:
        """Wait for a state of the key."""

        async def look() -> KeyState | None:
            return state if is_true(state := await self.state(key)) else None

        return await poll(look, within_s)

    async def message(self, stream: Stream, subject: str, is_it: Callable[[BusMessage], bool]) -> BusMessage:
        """Wait for a message that is the one."""

        async def look() -> BusMessage | None:
            found = await self.last(stream, subject)
            return found if found is not None and is_it(found) else None

        return await poll(look)

    async def report(self, service: Service, about: str) -> Refusal | Alert:
        """What a service said about the message at a subject: signed, and stored in REPORTS."""

        async def listen() -> Msg | None:
            return next((m for m in self.heard if _is_about(m, service, about)), None)

        try:
            found = await poll(listen)
        except TimeoutError:
            text = f"{service} did not report {about}\n{self.stack.log(service.value)[-2000:]}"
            raise AssertionError(text) from None
        stored = await self.message(Stream.REPORTS, found.subject, lambda m: m.data == found.data)
        return open_report(stored, self.trust).model

    async def voids(self, key: str) -> list[Void]:
        """What the fold of the key leaves out."""
        return list((await self.state(key)).voids)

    async def consumer(self, stream: Stream, name: str) -> dict[str, Any]:
        """The server's word about a durable."""
        answer = await self.client.request(f"$JS.API.CONSUMER.INFO.{stream}.{name}", b"", timeout=ANSWER_S)
        info: dict[str, Any] = json.loads(answer.data)
        assert "error" not in info, info
        return info

    async def settled(self) -> None:
        """Wait until every durable has handed out and got back everything: whoever consumes has done what it will do."""
        waiting: list[str] = []

        async def quiet() -> bool | None:
            infos = [await self.consumer(c.stream, c.name) for c in CONSUMERS]
            waiting[:] = [i["name"] for i in infos if i["num_pending"] or i["num_ack_pending"]]
            return None if waiting else True

        try:
            await poll(quiet)
        except TimeoutError:
            logs = "\n".join(self.stack.log(service)[-1500:] for service in Service)
            raise AssertionError(f"left waiting: {waiting}\n{logs}") from None


async def poll(look: Callable[[], Awaitable[T | None]], within_s: float = WITHIN_S) -> T:
    """What ``look`` finds as soon as it finds something."""
    async with asyncio.timeout(within_s):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.03)


def a_key(prefix: str = "orders") -> str:
    """A name in alice's scope that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


@asynccontextmanager
async def intruder(stack: RunningStack) -> AsyncIterator[Intruder]:
    """Take the bus over; the stack goes on."""
    directory = stack.layout.root / NAME
    _let_in(stack, directory)
    client = await _login(stack, directory)
    try:
        one = Intruder(stack, client, await _trust(client, stack.plan.env))

        async def hear(msg: Msg) -> None:
            one.heard.append(msg)

        await client.subscribe(f"rpt.{one.env}.>", cb=hear)
        await client.flush()
        yield one
    finally:
        await client.close()


def _let_in(stack: RunningStack, directory: Path) -> None:
    if directory.exists():
        return
    ca = DevelopmentCa.found(stack.layout.ca, stack.plan.env)
    ca.issue_client(directory, NAME)
    config = render(stack.layout, stack.plan)
    text = config.read_text()
    assert _CORE in text
    config.write_text(text.replace(_CORE, f'{_CORE}      {{ user: "{ca.spiffe(NAME)}" }},\n'))
    os.kill(stack.pid(NATS), signal.SIGHUP)


async def _login(stack: RunningStack, directory: Path) -> Client:
    tls = tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await nats.connect(
                    stack.plan.bus_url,
                    tls=tls,
                    tls_hostname=SERVER_NAME,
                    allow_reconnect=False,
                    connect_timeout=ANSWER_S,
                    error_cb=_quiet,
                )
            except (nats.errors.Error, OSError):  # not reloaded yet
                await asyncio.sleep(0.05)


async def _trust(client: Client, env: str) -> Trust:
    chain: list[SignedTrust] = []
    while True:
        subject = f"trust.{env}.{len(chain) + 1}"
        answer = await client.request(f"$JS.API.DIRECT.GET.TRUST.{subject}", b"", timeout=ANSWER_S)
        if wire.status(answer) == wire.NOT_FOUND:
            genesis = sha256_hex(b64u_decode(chain[0].payload))
            return Trust.from_chain(chain, genesis=genesis, env=env)
        chain.append(SignedTrust.model_validate_json(answer.data))


def _is_about(message: Msg, service: Service, about: str) -> bool:
    if message.subject.split(".")[2] != service.value:
        return False
    return bool(json.loads(message.data).get("subject") == about)


async def _quiet(error: Exception) -> None:
    """What the server says to the intruder is no matter."""
    del error
