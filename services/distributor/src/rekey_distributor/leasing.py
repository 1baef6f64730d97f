"""Leases: an instance gets its first one only with proof of every version that it should hold (DESIGN §2, §3).

Stored before it is answered, and every key is held against the leader after the lease is stored: an instance that got its
lease without a version is visible to the scheduler before that version could be activated. Whoever was told of a lease that
still runs *renews* it: the scheduler waits for that instance all along, so a version that is not active yet, or was not
when the lease before was decided, may be proved later; until then it is missing in what the lease says was proved
(decision 0052). An instance that says that it leaves proves nothing: its lease is stored as ended, and it gets no other one.

Each key's part ends as its class says, counted by nobody's wall clock: by the instance from before it asked, here and at the
scheduler from when the bus stored it. With the lease comes the quota of messages, in totals: whoever asks for the same
total again, because an answer was lost, is told again and given nothing more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.adoption import proved
from rekey_core.authority import Stream
from rekey_core.contracts import Lease, LeaseAnswer, LeasedKey, LeaseRequest, Quota, Receipt
from rekey_core.envelope import Stored
from rekey_core.errors import ConflictError, ExpiredError, NotInstalledError, WrongAuthorError
from rekey_core.fold import KeyState
from rekey_core.policy import class_named
from rekey_core.readers import open_embedded_receipt, open_lease
from rekey_distributor import granting, shares
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.quotas import Quotas
from rekey_distributor.shares import Share
from rekey_runtime.bus import Bus
from rekey_runtime.clock import BusClock, boottime
from rekey_runtime.keylog import KeyLog

CACHED_LEASES: Final = 10_000  # ends of leases kept in memory


@dataclass(frozen=True)
class _Held:
    """A key as the leader has it, and which of the versions to hold the instance has proved."""

    state: KeyState
    versions: tuple[int, ...]


@dataclass(frozen=True)
class Leasing:
    """Gives leases and knows who has one."""

    bus: Bus
    keylog: KeyLog
    deliveries: Deliveries
    emergencies: Emergencies
    quotas: Quotas
    clock: BusClock
    divisor: int = 1
    share: Share = field(default_factory=shares.leases)
    now: Callable[[], float] = boottime
    _until: OrderedDict[tuple[str, str, str], float] = field(
        default_factory=OrderedDict
    )  # boot time, seconds

    async def lease(self, request: LeaseRequest) -> LeaseAnswer:
        """Store a lease and answer it.

        Raises:
            ConflictError: the messages that were asked for are not counted yet, or another replica answers; ask again.
            NotInstalledError: the receipt does not prove a version that must not be missing; names it.
            NotGrantedError: one of the keys is not the dependent's.
            UnavailableError: the dependent has used up its share of the leases that are kept.
            ExpiredError: the instance has said that it leaves.
        """
        receipt = self._receipt(request)
        previous = await self._stored(request.dependent, request.instance)
        if previous is not None and previous.model.ended:  # a renewal that its own leaving has overtaken
            message = f"instance {request.instance} of {request.dependent} has left"
            raise ExpiredError(message, hint="connect again, as another instance")
        renewed = _renewed(request, previous, self.clock.now())
        held = await self._held(request, receipt, previous, renewed)
        protects = {key: said.protects if (said := receipt.keys.get(key)) else None for key in held}
        for key, one in held.items():
            before = previous.model.keys.get(key) if previous else None
            granting.check_protects(one.state, protects[key], before.as_of if before else 0)
        self.share.take(request.dependent, _growth(held, previous))  # messages are given away for good
        quotas = {
            key: await self._quota(request, one.state, protects[key], previous) for key, one in held.items()
        }
        lease = Lease(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            endorsement=request.endorsement,
            nonce=request.nonce,
            at=datetime.now(UTC),
            keys={key: self._leased(one, quotas[key], request.at_most_s) for key, one in held.items()},
        )
        stored_at = self.now()
        await self._store(lease, previous.sequence if previous else 0)
        stored = await self._read_back(lease)
        after = await self._held(request, receipt, stored, _renewed(request, previous, stored.stored_at))
        for key, leased in lease.keys.items():
            self._remember(lease, key, stored_at + leased.lease_s)
        return _answer(
            request,
            {
                key: leased.model_copy(update={"as_of": after[key].state.last_sequence})
                for key, leased in lease.keys.items()
            },
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
        asked = self.now()
        if self._until.get((dependent, instance, key), asked) > asked:
            return
        stored = await self._stored(dependent, instance)
        leased = stored.model.keys.get(key) if stored and not stored.model.ended else None
        left_s = 0.0
        if stored is not None and leased is not None:
            age = await self.bus.time(Stream.LEASES) - stored.stored_at
            left_s = min(leased.lease_s, leased.lease_s - age.total_seconds())  # the clock may have gone back
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

    async def _held(
        self,
        request: LeaseRequest,
        receipt: Receipt,
        previous: Stored[Lease] | None,
        renewed: Mapping[str, LeasedKey],
    ) -> dict[str, _Held]:
        """Each key with what is proved of it, by the receipt or by a lease before; all keys are asked for at once."""
        known = previous.model.keys if previous is not None else {}
        held = [
            self._one_held(request.dependent, receipt, key, known.get(key), renewed.get(key))
            for key in request.keys
        ]
        return dict(zip(request.keys, await asyncio.gather(*held), strict=True))

    async def _one_held(
        self,
        dependent: str,
        receipt: Receipt,
        key: str,
        known: LeasedKey | None,
        renewed: LeasedKey | None,
    ) -> _Held:
        state = await self.keylog.confirmed(key)
        granting.check_granted(state, dependent)
        said = receipt.keys.get(key)
        protects, found = said.protects if said else None, []
        for version in granting.versions_to_prove(state, self.emergencies.denied(state)):
            if (known and version in known.versions) or await self._is_proved(state, version, receipt):
                found.append(version)
            elif renewed is None or not granting.may_be_proved_later(state, version, protects, renewed.as_of):
                message = f"{key}@{version} is not proved by the receipt of {receipt.instance}"
                raise NotInstalledError(message, hint="install the version, write a receipt, ask again")
        return _Held(state, tuple(found))

    async def _is_proved(self, state: KeyState, version: int, receipt: Receipt) -> bool:
        said = receipt.keys.get(state.key)
        if said is None or version not in said.proofs:
            return False
        return proved(receipt, state, version, "installed", await self.deliveries.of(state.key, version))

    def _leased(self, held: _Held, quota: Quota | None, at_most_s: int | None) -> LeasedKey:
        lease_s = max(1, class_named(held.state.key_class or "").lease_s // self.divisor)
        return LeasedKey(
            versions=held.versions,
            as_of=held.state.last_sequence,
            lease_s=min(lease_s, at_most_s or lease_s),
            quota=quota,
        )

    async def _quota(
        self, request: LeaseRequest, state: KeyState, protects: int | None, previous: Stored[Lease] | None
    ) -> Quota | None:
        """What the instance has of the current version in all, with what it wants more and the budget can give."""
        version = granting.counted_version(state, self.emergencies.denied(state))
        if version is None:
            return None
        had = _given(previous.model.keys.get(state.key) if previous else None, version)
        more = granting.total_of(state, version, protects, request.wanted.get(state.key)) - had
        given = await self.quotas.allot(state.key, version, more) if more > 0 else 0
        return Quota(version=version, messages=had + given)

    async def _stored(self, dependent: str, instance: str) -> Stored[Lease] | None:
        message = await self.bus.last(Stream.LEASES, self.bus.subjects.lease(dependent, instance))
        return open_lease(message, self.bus.trust.current) if message else None

    async def _read_back(self, lease: Lease) -> Stored[Lease]:
        """The lease as it was stored, with the time of the bus."""
        stored = await self._stored(lease.dependent, lease.instance)
        if stored is None or stored.model.nonce != lease.nonce:
            message = f"another lease of {lease.dependent}/{lease.instance} took the place of this one"
            raise ConflictError(message)
        return stored

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


def _renewed(request: LeaseRequest, previous: Stored[Lease] | None, now: datetime) -> Mapping[str, LeasedKey]:
    """What runs at ``now`` of the lease before, if the instance was told of that very one; by the clock of the bus.

    Who was told held every version when that lease already stood, so the scheduler has waited for it since. A lease that
    stands there untold may have been refused after it was stored, and shows nothing.
    """
    if previous is None or previous.model.nonce != request.after:
        return {}
    age_s = (now - previous.stored_at).total_seconds()
    return {key: leased for key, leased in previous.model.keys.items() if age_s <= leased.lease_s}


def _growth(held: Mapping[str, _Held], previous: Stored[Lease] | None) -> int:
    """How many bytes at most are added to what is kept of the instance; a renewal of the same keys is no growth."""
    first, known = (shares.FIRST_BYTES, frozenset()) if previous is None else (0, previous.model.keys.keys())
    return first + shares.bytes_of({key: one.versions for key, one in held.items() if key not in known})


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
