"""Leases: an instance may go on only with proof of every version that it should hold (DESIGN §2, §3).

Stored before it is answered, and every key is held against the leader after the lease is stored: an instance that got its
lease without a version is visible to the scheduler before that version could be activated. An instance that says that it
leaves proves nothing: its lease is stored as ended, and it gets no other one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from rekey_core.adoption import proved
from rekey_core.authority import Stream
from rekey_core.contracts import Lease, LeaseAnswer, LeasedKey, LeaseRequest, Receipt
from rekey_core.envelope import Stored
from rekey_core.errors import ExpiredError, NotInstalledError, WrongAuthorError
from rekey_core.fold import KeyState
from rekey_core.policy import class_named
from rekey_core.readers import open_embedded_receipt, open_lease
from rekey_distributor import granting
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.emergencies import Emergencies
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog

CACHED_LEASES: Final = 10_000  # ends of leases kept in memory


@dataclass(frozen=True)
class Leasing:
    """Gives leases and knows who has one."""

    bus: Bus
    keylog: KeyLog
    deliveries: Deliveries
    emergencies: Emergencies
    _until: OrderedDict[tuple[str, str], datetime] = field(default_factory=OrderedDict)

    async def lease(self, request: LeaseRequest) -> LeaseAnswer:
        """Store a lease and answer it.

        Raises:
            NotInstalledError: the receipt does not prove a version that the instance should hold; names it.
            NotGrantedError: one of the keys is not the dependent's.
            ExpiredError: the instance has said that it leaves.
        """
        receipt = self._receipt(request)
        previous = await self._stored(request.dependent, request.instance)
        if previous is not None and previous.model.ended:  # a renewal that its own leaving has overtaken
            message = f"instance {request.instance} of {request.dependent} has left"
            raise ExpiredError(message, hint="connect again, as another instance")
        states = await self._proved(request, receipt, previous)
        now = datetime.now(UTC)
        duration = min(class_named(state.key_class or "").lease_s for state in states.values())
        lease = Lease(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            endorsement=request.endorsement,
            until=now + timedelta(seconds=duration),
            at=now,
            keys={key: self._leased(state) for key, state in states.items()},
        )
        await self._store(lease, previous.sequence if previous else 0)
        after = await self._proved(request, receipt, await self._stored(request.dependent, request.instance))
        self._remember(lease)
        return _answer(request, duration, lease.until, {key: s.last_sequence for key, s in after.items()})

    async def end(self, request: LeaseRequest) -> LeaseAnswer:
        """Store the instance's lease as ended, whatever its receipt proves, and answer it; ended once is enough.

        Raises:
            ExpiredError: it never had one.
        """
        previous = await self._stored(request.dependent, request.instance)
        if previous is None:
            message = f"instance {request.instance} of {request.dependent} has no lease"
            raise ExpiredError(message, hint="there is nothing to end")
        lease = previous.model
        if not lease.ended:
            now = datetime.now(UTC)
            lease = lease.model_copy(update={"until": now, "at": now, "ended": True})
            await self._store(lease, previous.sequence)
        self._remember(lease)
        return _answer(request, 0, lease.until, {key: leased.as_of for key, leased in lease.keys.items()})

    async def check(self, dependent: str, instance: str) -> None:
        """The instance has a lease now.

        Raises:
            ExpiredError: it has none, or it ran out.
        """
        now = datetime.now(UTC)
        if self._until.get((dependent, instance), now) > now:
            return
        stored = await self._stored(dependent, instance)
        if stored is None or stored.model.ended or stored.model.until <= now:
            message = f"instance {instance} of {dependent} has no lease"
            raise ExpiredError(message, hint="renew the lease first")
        self._remember(stored.model)

    def _receipt(self, request: LeaseRequest) -> Receipt:
        receipt = open_embedded_receipt(
            request.receipt, self.bus.trust.current, where="receipt in lease request"
        )
        if (receipt.dependent, receipt.instance) != (request.dependent, request.instance):
            asker = f"{request.dependent}/{request.instance}"
            message = f"receipt of {receipt.dependent}/{receipt.instance} in the request of {asker}"
            raise WrongAuthorError(message)
        return receipt

    async def _proved(
        self, request: LeaseRequest, receipt: Receipt, previous: Stored[Lease] | None
    ) -> dict[str, KeyState]:
        states = {}
        for key in request.keys:
            state = await self.keylog.confirmed(key)
            granting.check_granted(state, request.dependent)
            await self._check_proofs(state, receipt, self._known(previous, key))
            states[key] = state
        return states

    async def _check_proofs(self, state: KeyState, receipt: Receipt, known: frozenset[int]) -> None:
        missing = [
            v for v in granting.versions_to_prove(state, self.emergencies.denied(state)) if v not in known
        ]
        for version in missing:
            batches = await self.deliveries.of(state.key, version)
            if not proved(receipt, state, version, "installed", batches):
                message = f"{state.key}@{version} is not proved by the receipt of {receipt.instance}"
                raise NotInstalledError(message, hint="install the version, write a receipt, ask again")

    def _known(self, previous: Stored[Lease] | None, key: str) -> frozenset[int]:
        """Versions that a lease signed by this service already says were proved by this very instance."""
        if previous is None or key not in previous.model.keys:
            return frozenset()
        return frozenset(previous.model.keys[key].versions)

    def _leased(self, state: KeyState) -> LeasedKey:
        versions = granting.versions_to_prove(state, self.emergencies.denied(state))
        return LeasedKey(versions=versions, as_of=state.last_sequence)

    async def _stored(self, dependent: str, instance: str) -> Stored[Lease] | None:
        message = await self.bus.last(Stream.LEASES, self.bus.subjects.lease(dependent, instance))
        return open_lease(message, self.bus.trust.current) if message else None

    async def _store(self, lease: Lease, previous: int) -> None:
        packed = self.bus.pack(lease)
        subject = self.bus.subjects.lease(lease.dependent, lease.instance)
        await self.bus.replace(Stream.LEASES, subject, packed, previous)

    def _remember(self, lease: Lease) -> None:
        self._until[lease.dependent, lease.instance] = lease.until
        self._until.move_to_end((lease.dependent, lease.instance))
        if len(self._until) > CACHED_LEASES:
            self._until.popitem(last=False)


def _answer(request: LeaseRequest, duration_s: int, until: datetime, as_of: dict[str, int]) -> LeaseAnswer:
    return LeaseAnswer(
        env=request.env,
        dependent=request.dependent,
        instance=request.instance,
        nonce=request.nonce,
        duration_s=duration_s,
        until=until,
        as_of=as_of,
    )
