"""An instance that asks the distributor whatever it likes: the SDK would not ask for what is stopped."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import nats
from nats.aio.client import Client

from rekey_core.authority import Identity
from rekey_core.contracts import (
    Answer,
    KeyReceipt,
    LeaseAnswer,
    LeaseRequest,
    MaterialRequest,
    ProbeRequest,
    Receipt,
    Request,
    SignatureAnswer,
)
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import sign
from rekey_core.readers import endorse, open_answer
from rekey_core.sealing import SealingKey
from rekey_core.signing import SigningKey
from rekey_local.plan import SERVER_NAME
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from tests.attacks.intruder import Intruder
from tests.system.bus import ANSWER_S

DEPENDENT: Final = "orders"
TRY_S: Final = 5.0
TRIES: Final = 6


@dataclass
class Instance:
    """An instance of orders that asks whatever it likes: the SDK would not ask for what is stopped."""

    watcher: Intruder
    client: Client
    key: SigningKey = field(default_factory=SigningKey.generate)

    async def ask(self, kind: type[Request], **said: object) -> Answer | None:
        """The distributor's answer; None for one that is sealed, and so holds material.

        What the bus kept waiting for too long is not answered at all, so this asks again, as the SDK does.
        """
        for _ in range(TRIES):
            request = kind.model_validate(self._common() | said)
            subject = self.watcher.subjects.request(DEPENDENT, self.key.key_id, request.OP)
            data = sign(request, self.key).model_dump_json().encode()
            with contextlib.suppress(nats.errors.TimeoutError):
                answer = await self.client.request(subject, data, timeout=TRY_S)
                if answer.headers:
                    return None
                return open_answer(answer.data, self.watcher.trust, request, (LeaseAnswer, SignatureAnswer))
        raise AssertionError(f"{kind.__name__}: not answered, {TRIES} times")

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
        connect_timeout=ANSWER_S,
    )
    try:
        yield Instance(watcher, client)
    finally:
        await client.close()
