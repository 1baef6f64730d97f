"""Messages of a service that was taken over: its certificate, its account, its signing key, every right it has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import nats

from rekey_core.authority import Identity
from rekey_core.contracts import Fact
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.next_fact import next_fact
from rekey_local.plan import SERVER_NAME
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from rekey_runtime import wire
from tests.attacks.intruder import Intruder
from tests.system.bus import ANSWER_S


async def say(
    watcher: Intruder, service: Service, subject: str, data: bytes, headers: dict[str, str]
) -> None:
    """Store a message as the service that was taken over: by its certificate, in its account."""
    directory = watcher.stack.layout.service(service)
    client = await nats.connect(
        watcher.stack.plan.bus_url,
        tls=tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt"),
        tls_hostname=SERVER_NAME,
        inbox_prefix=inbox(Identity(service.value)),
        allow_reconnect=False,
        connect_timeout=ANSWER_S,
    )
    try:
        answer = await client.request(subject, data, timeout=ANSWER_S, headers=headers)
        wire.acknowledged(answer.data, where=subject)
    finally:
        await client.close()


async def forge(watcher: Intruder, fact: Fact) -> str:
    """Append a fact as its author, which was taken over; where it stands."""
    packed = watcher.pack(fact, fact.AUTHOR)
    subject = watcher.subjects.fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
    await say(watcher, fact.AUTHOR, subject, packed.data, packed.headers)
    return subject


def a_fact(kind: type[Fact], state: KeyState, version: int, cause: str, **said: Any) -> Fact:
    """The next fact of the key, right in everything that its author can know."""
    return kind.model_validate({**next_fact(state, kind, cause, version, datetime.now(UTC)), **said})
