"""Leases read so that none is missed: one that is not seen is an instance that nobody waits for (DESIGN §3, stale reads)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage
from rekey_core.errors import StaleReadError


class Reads(Protocol):
    """What is needed of the bus; ``rekey_runtime.bus.Bus`` has it."""

    async def read_many(self, stream: Stream, filters: Sequence[str]) -> list[BusMessage]:
        """The newest message of every subject that matches; may be behind the leader."""

    async def last(self, stream: Stream, subject_filter: str) -> BusMessage | None:
        """The newest message that matches; MUST be the leader's answer."""


async def all_leases(bus: Reads, env: str, dependents: Iterable[str]) -> list[BusMessage]:
    """The leases of every instance of these dependents, up to the leader's last one of each dependent.

    Raises:
        StaleReadError: the read stayed behind the leader, or was cut short.
        UnavailableError: no leader answered.
    """
    filters = [f"lse.{env}.{name}.*" for name in dependents]
    messages = await bus.read_many(Stream.LEASES, filters)
    read = max((message.sequence for message in messages), default=0)
    for subject in filters:
        last = await bus.last(Stream.LEASES, subject)
        if last is not None and last.sequence > read:
            text = f"{subject}: read up to {read}, the leader has {last.sequence}"
            raise StaleReadError(text)
    return messages
