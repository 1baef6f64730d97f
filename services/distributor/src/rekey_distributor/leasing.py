"""Leases: an instance may go on only with proof of every version that it should hold (DESIGN §2, §3).

Stored before it is answered, and every key is held against the leader after the lease is stored: an instance that got its
lease without a version is visible to the scheduler before that version could be activated. An instance that says that it
leaves proves nothing: its lease is stored as ended, and it gets no other one.

Each key's part ends as its class says, counted by nobody's wall clock: by the instance from before it asked, here and at the
scheduler from when the bus stored it. With the lease comes the quota of messages, in totals: whoever asks for the same
total again, because an answer was lost, is told again and given nothing more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.adoption import proved
from rekey_core.authority import Stream
from rekey_core.contracts import Lease, LeaseAnswer, LeasedKey, LeaseRequest, Quota, Receipt
from rekey_core.envelope import Stored
from rekey_core.errors import ExpiredError, NotInstalledError, WrongAuthorError
from rekey_core.fold import KeyState
from rekey_core.policy import class_named
from rekey_core.readers import open_embedded_receipt, open_lease
from rekey_distributor import granting
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.quotas import Quotas
from rekey_runtime.bus import Bus
from rekey_runtime.clock import boottime
from rekey_runtime.keylog import KeyLog

CACHED_LEASES: Final = 10_000  # ends of leases kept in memory


@dataclass(frozen=True)
class Leasing:
    """Gives leases and knows who has one."""

    bus: Bus
    keylog: KeyLog
    deliveries: Deliveries
    emergencies: Emergencies
    quotas: Quotas
    divisor: int = 1
    _until: OrderedDict[tuple[str, str, str], float] = field(
        default_factory=OrderedDict
    )  # boot time, seconds

    async def lease(self, request: LeaseRequest) -> LeaseAnswer:
        """Store a lease and answer it.

        Raises:
            ConflictError: the messages that were asked for are not counted yet, or another replica answers; ask again.
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
        for key, state in states.items():
            held, before = receipt.keys.get(key), previous.model.keys.get(key) if previous else None
            granting.check_protects(state, held.protects if held else None, before.as_of if before else 0)
        quotas = {key: await self._quota(request, state, previous) for key, state in states.items()}
        lease = Lease(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            endorsement=request.endorsement,
            at=datetime.now(UTC),
            keys={key: self._leased(state, quotas[key]) for key, state in states.items()},
        )
        stored_at = boottime()
        await self._store(lease, previous.sequence if previous else 0)
        after = await self._proved(request, receipt, await self._stored(request.dependent, request.instance))
        for key, leased in lease.keys.items():
            self._remember(lease, key, stored_at + leased.lease_s)
        return _answer(
            request,
            {key: k.model_copy(update={"as_of": after[key].last_sequence}) for key, k in lease.keys.items()},
        )

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
            lease = lease.model_copy(update={"at": datetime.now(UTC), "ended": True})
            await self._store(lease, previous.sequence)
        for key in lease.keys:
            self._remember(lease, key, 0.0)
        return _answer(request, {})

    async def check(self, dependent: str, instance: str, key: str) -> None:
        """The instance has a lease for the key now.

        Raises:
            ExpiredError: it has none, or it ran out.
        """
        asked = boottime()
        if self._until.get((dependent, instance, key), asked) > asked:
            return
        stored = await self._stored(dependent, instance)
        leased = stored.model.keys.get(key) if stored and not stored.model.ended else None
        left_s = 0.0
        if stored is not None and leased is not None:
            age = await self.bus.time(Stream.LEASES) - stored.stored_at
            left_s = leased.lease_s - age.total_seconds()
            self._remember(stored.model, key, asked + left_s)
        if left_s <= 0:
            message = f"instance {instance} of {dependent} has no lease for key {key}"
            raise ExpiredError(message, hint="renew the lease first")

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

    def _leased(self, state: KeyState, quota: Quota | None) -> LeasedKey:
        versions = granting.versions_to_prove(state, self.emergencies.denied(state))
        lease_s = max(1, class_named(state.key_class or "").lease_s // self.divisor)
        return LeasedKey(
            versions=versions,
            as_of=state.last_sequence,
            lease_s=lease_s,
            quota=quota,
        )

    async def _quota(
        self, request: LeaseRequest, state: KeyState, previous: Stored[Lease] | None
    ) -> Quota | None:
        """What the instance has of the current version in all, with what it wants more and the budget can give."""
        version = granting.counted_version(state, self.emergencies.denied(state))
        if version is None:
            return None
        had = _given(previous.model.keys.get(state.key) if previous else None, version)
        wanted = request.wanted.get(state.key)
        more = wanted.messages - had if wanted is not None and wanted.version == version else 0
        given = await self.quotas.allot(state.key, version, more) if more > 0 else 0
        return Quota(version=version, messages=had + given)

    async def _stored(self, dependent: str, instance: str) -> Stored[Lease] | None:
        message = await self.bus.last(Stream.LEASES, self.bus.subjects.lease(dependent, instance))
        return open_lease(message, self.bus.trust.current) if message else None

    async def _store(self, lease: Lease, previous: int) -> None:
        packed = self.bus.pack(lease)
        subject = self.bus.subjects.lease(lease.dependent, lease.instance)
        await self.bus.replace(Stream.LEASES, subject, packed, previous)

    def _remember(self, lease: Lease, key: str, until: float) -> None:
        name = (lease.dependent, lease.instance, key)
        self._until[name] = until
        self._until.move_to_end(name)
        if len(self._until) > CACHED_LEASES:
            self._until.popitem(last=False)


def _given(leased: LeasedKey | None, version: int) -> int:
    quota = leased.quota if leased else None
    return quota.messages if quota is not None and quota.version == version else 0


def _answer(request: LeaseRequest, keys: dict[str, LeasedKey]) -> LeaseAnswer:
    return LeaseAnswer(
        env=request.env,
        dependent=request.dependent,
        instance=request.instance,
        nonce=request.nonce,
        keys=keys,
    )
