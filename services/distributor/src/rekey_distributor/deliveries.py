"""The ``delivered`` facts: many instances per message, stored before the first of them is answered.

Requests that were decided at the same state of the same version wait for one append (group commit). The append carries
the check of the key, so that none can be recorded behind a newer fact, a revocation above all.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.authority import Stream
from rekey_core.contracts import Delivered, Delivery
from rekey_core.envelope import BusMessage
from rekey_core.errors import MalformedError, RekeyError, UnknownOutcomeError
from rekey_core.fold import KeyState
from rekey_core.readers import open_delivered
from rekey_core.room import check_delivery
from rekey_distributor import shares
from rekey_runtime.bus import Bus

_log = logging.getLogger(__name__)

GROUP_WAIT_S: Final = 0.005  # how long the first request of a group waits for others
GROUP_SIZE: Final = 100  # contracts.Delivered.deliveries

Slot = tuple[str, int, int]  # key, version, sequence decided at


@dataclass
class _Group:
    deliveries: list[Delivery] = field(default_factory=list)
    stored: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Deliveries:
    """Appends deliveries and finds those that exist."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.share = shares.deliveries()
        self._open: dict[Slot, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def found(self, key: str, version: int, instance: str) -> Delivery | None:
        """The delivery of this version to this instance, if there was one."""
        for batch in await self.of(key, version):
            for delivery in batch.deliveries:
                if delivery.instance == instance:
                    return delivery
        return None

    async def of(self, key: str, version: int) -> list[Delivered]:
        """All deliveries of a version."""
        subject = f"dlv.{self._bus.settings.env}.{key}.{version}.>"
        messages = await self._bus.read_many(Stream.LIFECYCLE, [subject])
        return list(self._believed(messages))

    def _believed(self, messages: Iterable[BusMessage]) -> Iterable[Delivered]:
        """What does not verify is no delivery; it stands there for ever, and must not be the end of all others."""
        for message in messages:
            try:
                yield open_delivered(message, self._bus.trust.current).model
            except MalformedError as error:
                _log.warning(
                    "delivery: %s", error, extra={"event": "not-believed", "subject": message.subject}
                )

    async def record(self, state: KeyState, version: int, delivery: Delivery) -> None:
        """Return once the delivery is stored.

        Raises:
            ConflictError: the key has a newer fact than the state; decide again.
            UnavailableError: what is left of the stream belongs to revocation, or to other dependents.
            UnknownOutcomeError: it is not known whether it was stored.
        """
        check_delivery(self._bus.room.share(Stream.LIFECYCLE))
        self.share.take(delivery.dependent, 1)
        slot = (state.key, version, state.last_sequence)
        group = self._open.get(slot)
        if group is None:
            group = self._open[slot] = _Group()
            task = asyncio.create_task(self._flush_later(slot))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        group.deliveries.append(delivery)
        if len(group.deliveries) == GROUP_SIZE:
            del self._open[slot]
            await self._store(slot, group)
        await asyncio.shield(group.stored)

    async def _flush_later(self, slot: Slot) -> None:
        await asyncio.sleep(GROUP_WAIT_S)
        group = self._open.pop(slot, None)
        if group is not None:
            await self._store(slot, group)

    async def _store(self, slot: Slot, group: _Group) -> None:
        key, version, checked = slot
        batch = Delivered(
            id=uuid.uuid4(),
            env=self._bus.settings.env,
            key=key,
            version=version,
            checked=checked,
            at=datetime.now(UTC),
            deliveries=tuple(group.deliveries),
        )
        try:
            await self._append(batch)
        except RekeyError as error:
            group.stored.set_exception(error)
        except asyncio.CancelledError:
            group.stored.set_exception(UnknownOutcomeError(f"{key}@{version}: delivery was interrupted"))
            raise
        else:
            group.stored.set_result(None)

    async def _append(self, batch: Delivered) -> None:
        packed = self._bus.pack(batch)
        subject = self._bus.subjects.delivered(batch.key, batch.version, batch.id.hex)
        await self._bus.publish(
            Stream.LIFECYCLE,
            subject,
            packed,
            expected_last=batch.checked,
            check_subject=self._bus.subjects.check(batch.key),
        )
