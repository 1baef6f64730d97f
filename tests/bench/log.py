"""Fills the log: facts that verify and fold, signed with their authors' keys, in atomic batches of 1,000.

Each fact goes in by its author's own connection: nobody has the right to write them all. While a ``Log`` is filled nobody
else may write, so the sequence that each fact gets is known before it is stored. Whoever fills many keys goes through them
step by step, so that neighbours have the same author and share a batch.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.aio.client import Client

from rekey_core.authority import Stream, Subjects
from rekey_core.commands import command_id, sign_command
from rekey_core.contracts import (
    Activated,
    BackedUp,
    Deactivated,
    Fact,
    Generated,
    Granted,
    Register,
    Registered,
    RotationRequested,
    SignedCommand,
    event_id,
)
from rekey_core.envelope import Packed, pack
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST, class_named
from rekey_runtime import wire
from tests.system.bus import RunningBus
from tests.system.certificates import ENV

Message = tuple[str, dict[str, str], bytes]  # subject, headers, body
BATCH: Final = 1000  # messages; nats-server's largest atomic batch
TIMEOUT_S: Final = 60.0
CLASS: Final = class_named("application-data")
OWNER: Final = "alice"


@dataclass
class Chain:
    """What the next fact of a key needs to know of the ones before it."""

    sequence: int = 0
    registration: str = ""
    command: SignedCommand | None = None
    cause: str = ""  # the id of the last fact that another one follows from
    version: int = 0


async def store(client: Client, messages: Sequence[Message]) -> int:
    """One atomic batch, as raw as a client can; the sequence of its last message."""
    batch = uuid.uuid4().hex
    for number, (subject, headers, data) in enumerate(messages, start=1):
        batched = headers | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number == len(messages):
            batched["Nats-Batch-Commit"] = "1"
            answer = await client.request(subject, data, timeout=TIMEOUT_S, headers=batched)
            return wire.acknowledged(answer.data, where=subject)
        if number == 1:
            await client.request(subject, data, timeout=TIMEOUT_S, headers=batched)
        else:
            await client.publish(subject, data, headers=batched)
    raise ValueError("expected at least one message")


class Log:
    """The stream of facts of one environment while it is filled."""

    def __init__(self, bus: RunningBus, clients: Mapping[Service, Client]) -> None:
        self._bus = bus
        self._clients = clients
        self._author = Service.ROTATION_SCHEDULER
        self._subjects = Subjects(ENV)
        self._waiting: list[Message] = []
        self._next = 0
        self.keys: dict[str, Chain] = {}

    async def begin(self) -> None:
        """Find out where the stream stands. Again after somebody else wrote."""
        await self.flush()
        question = f"{wire.API}.STREAM.INFO.{Stream.LIFECYCLE}"
        answer = await self._clients[self._author].request(question, b"", timeout=TIMEOUT_S)
        self._next = int(json.loads(answer.data)["state"]["last_seq"]) + 1

    async def register(self, key: str, dependents: Sequence[str]) -> None:
        """The key exists and is granted to the dependents."""
        chain = self.keys.setdefault(key, Chain())
        command = self._command(key, dependents)
        chain.command, chain.registration = command, command_id(command)
        kind = {
            "algorithm": CLASS.algorithm,
            "release": CLASS.release,
            "cryptoperiod_s": CLASS.cryptoperiod_s,
        }
        body: dict[str, Any] = {
            "owner": OWNER,
            "key_class": CLASS.name,
            "purpose": "benchmark",
            "command": command,
            **kind,
        }
        await self._add(Registered, key, 0, chain.registration, **body)
        for number, dependent in enumerate(dependents):
            await self._add(Granted, key, 0, chain.registration, number, dependent=dependent, command=command)

    async def request(self, key: str) -> int:
        """The next version is requested; its number."""
        chain = self.keys[key]
        chain.version += 1
        reason = "initial" if chain.version == 1 else "time"
        deadline = datetime.now(UTC) + timedelta(hours=1)
        cause = chain.registration if chain.version == 1 else f"time-{chain.version}"
        fact = await self._add(RotationRequested, key, chain.version, cause, reason=reason, deadline=deadline)
        chain.cause = str(fact.id)
        return chain.version

    async def generate(self, key: str) -> Fact:
        """The requested version as if it had been made; nothing lies in MATERIAL for it."""
        chain = self.keys[key]
        digest = hashlib.sha256(f"{key}@{chain.version}".encode()).hexdigest()
        body: dict[str, Any] = {"algorithm": CLASS.algorithm, "release": CLASS.release, "epoch": 1}
        body |= {"key_id": chain.version, "blob_digest": digest, "commitment": digest}
        return self._follow(chain, await self._add(Generated, key, chain.version, chain.cause, **body))

    async def back_up(self, key: str) -> Fact:
        """The generated version as if its backup lay in MATERIAL."""
        chain = self.keys[key]
        digest = hashlib.sha256(f"backup of {key}@{chain.version}".encode()).hexdigest()
        body: dict[str, Any] = {"backup_epoch": 1, "blob_digest": digest}
        return await self._add(BackedUp, key, chain.version, chain.cause, **body)

    async def activate(self, key: str) -> Fact:
        """The version becomes current, and the one before is deactivated."""
        chain = self.keys[key]
        fact = self._follow(chain, await self._add(Activated, key, chain.version, chain.cause, proved=()))
        if chain.version > 1:
            await self._add(Deactivated, key, chain.version - 1, chain.cause, proved=())
        return fact

    async def version(self, *keys: str) -> None:
        """Requested, generated, backed up, activated."""
        for step in (self.request, self.generate, self.back_up, self.activate):
            for key in keys:
                await step(key)

    async def others(self, count: int) -> None:
        """So many facts of keys that nobody asks for: size and subjects are those of facts, the bodies are all the same."""
        sample = self._packed(self._fact(Deactivated, "filler", 1, 0, "0" * 64, 0, proved=()))
        for number in range(count):
            subject = self._subjects.fact(
                f"filler-{number // 10}", 1, "rotation-scheduler", "deactivated", uuid.uuid4().hex
            )
            await self._put(Deactivated.AUTHOR, (subject, sample.headers, sample.data))
        await self.flush()

    async def flush(self) -> None:
        """Store what waits."""
        messages, self._waiting = self._waiting, []
        if messages:
            last = await store(self._clients[self._author], messages)
            if last != self._next - 1:
                raise AssertionError(f"expected sequence {self._next - 1}, found {last}: somebody else wrote")

    def _follow(self, chain: Chain, fact: Fact) -> Fact:
        chain.cause = str(fact.id)
        return fact

    def _command(self, key: str, dependents: Iterable[str]) -> SignedCommand:
        now = datetime.now(UTC)
        command = Register(
            env=ENV,
            key=key,
            author=OWNER,
            nonce=uuid.uuid4().hex,
            author_seq=1,
            issued_at=now,
            expires_at=now + timedelta(minutes=5),
            reason="benchmark",
            key_class=CLASS.name,
            purpose="benchmark",
            dependents=tuple(dependents),
        )
        return sign_command(command, self._bus.people[OWNER])

    async def _add(
        self, kind: type[Fact], key: str, version: int, cause: str, ordinal: int = 0, **body: Any
    ) -> Fact:
        chain = self.keys[key]
        fact = self._fact(kind, key, version, chain.sequence, cause, ordinal, **body)
        packed = self._packed(fact)
        chain.sequence = self._next
        subject = self._subjects.fact(key, version, kind.AUTHOR, kind.EVENT, fact.id.hex)
        await self._put(kind.AUTHOR, (subject, packed.headers, packed.data))
        return fact

    def _fact(
        self, kind: type[Fact], key: str, version: int, checked: int, cause: str, ordinal: int, **body: Any
    ) -> Fact:
        common = {
            "id": event_id(cause, kind.TYPE, ENV, key, version, ordinal),
            "env": ENV,
            "key": key,
            "version": version,
            "author": kind.AUTHOR,
            "checked": checked,
            "cause": cause,
            "policy": POLICY_DIGEST,
            "at": datetime.now(UTC),
        }
        return kind.model_validate(common | body)

    def _packed(self, fact: Fact) -> Packed:
        return pack(fact, self._bus.services[fact.AUTHOR], source=f"/rekey/{ENV}/{fact.AUTHOR}")

    async def _put(self, author: Service, message: Message) -> None:
        if author is not self._author:
            await self.flush()
            self._author = author
        self._waiting.append(message)
        self._next += 1
        if len(self._waiting) == BATCH:
            await self.flush()
