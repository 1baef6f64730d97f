"""What the decision about a version needs to know of its dependents: leases, receipts, deliveries, freshly read.

Leases are read so that none is missed: the direct read must reach the leader's last lease of every dependent, since
a lease that is not seen is an instance that is not waited for (DESIGN §3, stale reads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from rekey_core.adoption import Adoption, adoption
from rekey_core.authority import Stream
from rekey_core.contracts import Lease, Message
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import MalformedError, RefusedError, StaleReadError
from rekey_core.fold import KeyState
from rekey_core.readers import open_delivered, open_lease, open_receipt
from rekey_core.trust import Trust
from rekey_runtime.bus import Bus

M = TypeVar("M", bound=Message)


async def adopted(bus: Bus, state: KeyState, version: int) -> Adoption:
    """Who has proved what of a version, as of now.

    Raises:
        StaleReadError: the leases could not be read up to the leader's last one.
    """
    env = bus.settings.env
    dependents = sorted(state.grants)
    lease_messages = await _all_leases(bus, [f"lse.{env}.{name}.*" for name in dependents])
    receipt_messages = await bus.read_many(Stream.RECEIPTS, [f"rcpt.{env}.{name}.*" for name in dependents])
    delivered_messages = await bus.read_many(Stream.LIFECYCLE, [f"dlv.{env}.{state.key}.{version}.*"])
    trust = await bus.trust.refresh()  # an instance of a dependent that is new to us must be waited for
    leases: list[Stored[Lease]] = [open_lease(message, trust) for message in lease_messages]
    deliveries = [stored.model for stored in _believed(delivered_messages, open_delivered, trust)]
    receipts = list(_believed(receipt_messages, open_receipt, trust))
    return adoption(state, version, leases, receipts, deliveries, datetime.now(UTC))


async def _all_leases(bus: Bus, filters: list[str]) -> list[BusMessage]:
    messages = await bus.read_many(Stream.LEASES, filters)
    read = max((message.sequence for message in messages), default=0)
    for subject in filters:
        last = await bus.last(Stream.LEASES, subject)
        if last is not None and last.sequence > read:
            text = f"{subject}: read up to {read}, the leader has {last.sequence}"
            raise StaleReadError(text)
    return messages


def _believed(
    messages: Iterable[BusMessage], opener: Callable[[BusMessage, Trust], Stored[M]], trust: Trust
) -> Iterable[Stored[M]]:
    """A receipt or delivery that does not verify proves nothing: its instance counts as not having answered."""
    for message in messages:
        try:
            yield opener(message, trust)
        except (MalformedError, RefusedError):
            continue
