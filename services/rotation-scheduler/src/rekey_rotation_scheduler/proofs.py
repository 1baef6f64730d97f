"""What the decision about a version needs to know of its dependents: leases, receipts, deliveries, freshly read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from rekey_core.adoption import LEASE_MARGIN_S, Adoption, adoption
from rekey_core.authority import Stream
from rekey_core.contracts import Lease, Message
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import MalformedError, RefusedError, UnavailableError
from rekey_core.fold import KeyState
from rekey_core.policy import CLASSES
from rekey_core.quotas import BUDGET
from rekey_core.readers import open_delivered, open_lease, open_quota, open_receipt
from rekey_core.trust import Trust
from rekey_runtime.bus import Bus
from rekey_runtime.leases import all_leases

LONGEST: Final = timedelta(seconds=max(key_class.lease_s for key_class in CLASSES) + LEASE_MARGIN_S)
FILTERS: Final = 500  # subjects in one question; an answer holds 1,024 at most

M = TypeVar("M", bound=Message)


async def adopted(bus: Bus, state: KeyState, version: int) -> Adoption:
    """Who has proved what of a version, as of now.

    Receipts are read of instances with a lease of the key only: a dependent may write any number of others, and what others
    have to say about other keys makes no decision about this one slower.

    Raises:
        StaleReadError: the leases could not be read up to the leader's last one.
        UnavailableError: somebody has a lease that does not verify, and it may last still.
    """
    env = bus.settings.env
    dependents = sorted(state.grants)
    now = await bus.time(Stream.LEASES)  # before they are read, so that it is rather too early
    stored = await all_leases(bus, env, dependents)
    lease_messages = [message for message in stored if now - message.stored_at <= LONGEST]
    trust = await bus.trust.refresh()  # an instance of a dependent that is new to us must be waited for
    leases = [
        lease for message in lease_messages if state.key in (lease := _lease(message, trust)).model.keys
    ]
    receipt_messages = await _receipts(bus, [lease.subject for lease in leases])
    delivered_messages = await bus.read_many(Stream.LIFECYCLE, [f"dlv.{env}.{state.key}.{version}.*"])
    deliveries = [stored.model for stored in _believed(delivered_messages, open_delivered, trust)]
    receipts = list(_believed(receipt_messages, open_receipt, trust))
    return adoption(state, version, leases, receipts, deliveries, now)


async def allotted(bus: Bus, key: str, version: int) -> int:
    """How many messages of a version are given away, as the leader has it.

    A ledger that does not verify may stand in the place of one that did: the distributor gives nothing more of it.
    """
    message = await bus.last(Stream.QUOTAS, bus.subjects.quota(key, version))
    if message is None:
        return 0
    try:
        return (await bus.trust.fresh(lambda trust: open_quota(message, trust))).model.allotted
    except MalformedError:
        return BUDGET


def _lease(message: BusMessage, trust: Trust) -> Stored[Lease]:
    """A lease that does not verify may stand in the place of one that did: its instance is waited for as long as any."""
    try:
        return on_the_clock_of_the_bus(open_lease(message, trust))
    except (MalformedError, RefusedError) as error:
        until = f"{message.stored_at + LONGEST:%H:%M:%S}"
        raise UnavailableError(f"waiting until {until} for a lease that does not verify: {error}") from error


def on_the_clock_of_the_bus(stored: Stored[Lease]) -> Stored[Lease]:
    """The lease with its end as the bus counts it: as long as the distributor gave it, from when it was stored.

    The instance counts from before that moment, so it ends earlier, whatever the distributor's clock and ours say.
    """
    return replace(stored, model=stored.model.model_copy(update={"at": stored.stored_at}))


async def _receipts(bus: Bus, leases: list[str]) -> list[BusMessage]:
    subjects = [f"rcpt.{subject.removeprefix('lse.')}" for subject in leases]
    parts = [subjects[at : at + FILTERS] for at in range(0, len(subjects), FILTERS)]
    return [message for part in parts for message in await bus.read_many(Stream.RECEIPTS, part)]


def _believed(
    messages: Iterable[BusMessage], opener: Callable[[BusMessage, Trust], Stored[M]], trust: Trust
) -> Iterable[Stored[M]]:
    """A receipt or delivery that does not verify proves nothing: its instance counts as not having answered."""
    for message in messages:
        try:
            yield opener(message, trust)
        except (MalformedError, RefusedError):
            continue
