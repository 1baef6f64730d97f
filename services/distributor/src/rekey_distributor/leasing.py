"""Leases: an instance gets its first one only with proof of every version that it should hold (DESIGN §2, §3).

Stored before it is answered, and every key is held against the leader after the lease is stored: an instance that got its
lease without a version is visible to the scheduler before that version could be activated. Whoever was told of a lease that
still runs *renews* it: the scheduler waits for that instance all along, so a version that is not active yet, or was not
when the lease before was decided, may be proved later; until then it is missing in what the lease says was proved
(decision 0052). An instance that says that it leaves proves nothing: its lease is stored as ended, and it gets no other one.

Each key is judged for itself (decision 0089): one that is refused keeps no other from being renewed. What stands there of it
stays in the lease with the end that it has, so that its instance is waited for until then and no second longer, and is
remembered afterwards; it is no base for a renewal.

Each key's part ends as its class says, counted by nobody's wall clock: by the instance from before it asked, here and at the
scheduler from when the bus stored it. With the lease comes the quota of messages, in totals: whoever asks for the same
total again, because an answer was lost, is told again and given nothing more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.adoption import lease_end, proved
from rekey_core.authority import Stream
from rekey_core.contracts import (
    REFUSED_BY_KEY,
    KeyRefusal,
    Lease,
    LeaseAnswer,
    LeasedKey,
    LeaseRequest,
    Quota,
    Receipt,
)
from rekey_core.envelope import Stored
from rekey_core.errors import (
    ConflictError,
    ExpiredError,
    NotInstalledError,
    RefusedError,
    RekeyError,
    ReplayedError,
    RetryableError,
    UndecidableKeyError,
    WrongAuthorError,
)
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
    protects: int | None
    lease_s: int  # by the key's class


_OF_THE_KEY: Final = (RefusedError, UndecidableKeyError)  # is wrong with a key: no matter of the others
_Judged = tuple[dict[str, _Held], dict[str, RekeyError]]  # keys to lease, and why the others are refused


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
        """Store a lease for the keys that are not refused and answer it; if all are, nothing is stored.

        Raises:
            ConflictError: the messages that were asked for are not counted yet, or another replica answers; ask again.
            UnavailableError: the dependent has used up its share of the leases that are kept.
            ExpiredError: the instance has said that it leaves.
            ReplayedError: the lease that stands there answered this very request.
            NotInstalledError, NotGrantedError, ...: what is wrong with one of the keys, for who knows no refusal of a key.
        """
        receipt = self._receipt(request)
        previous = await self._stored(request.dependent, request.instance)
        if previous is not None and previous.model.ended:  # a renewal that its own leaving has overtaken
            message = f"instance {request.instance} of {request.dependent} has left"
            raise ExpiredError(message, hint="connect again, as another instance")
        if (
            previous is not None and previous.model.nonce == request.nonce
        ):  # by another replica, or before a start
            message = f"request {request.nonce} of {request.instance} was answered before"
            raise ReplayedError(message)
        before = previous.model.keys if previous is not None else {}
        renewed = _renewed(request, previous, self.clock.now())
        held, refused = await self._held(request.keys, receipt, before, before, renewed)
        _check_understood(request, refused)
        if not held:
            return _answer(request, {}, refused)
        self.share.take(request.dependent, _growth(held, previous))  # messages are given away for good
        quotas = {key: await self._quota(request, one, before.get(key)) for key, one in held.items()}
        given = {key: self._leased(one, quotas[key], request.at_most_s) for key, one in held.items()}
        until = _ends(previous, refused.keys() | _overtaken(request, previous))
        lease = Lease(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            endorsement=request.endorsement,
            nonce=request.nonce,
            at=datetime.now(UTC),
            keys={key: before[key] for key in until} | given,
            until=until,
        )
        stored_at = self.now()
        await self._store(lease, previous.sequence if previous else 0)
        stored = await self._read_back(lease)
        renewed = _renewed(request, previous, stored.stored_at)
        after, late = await self._held(given, receipt, given, before, renewed)
        _check_understood(request, late)
        if late:  # not told of, so no base for a renewal; waited for until its end all the same, at worst for nothing
            until = lease.until | _ends(stored, late)
            await self._store(lease.model_copy(update={"until": until}), stored.sequence)
        for key in after:
            self._remember(lease, key, stored_at + given[key].lease_s)
        keys = {
            key: given[key].model_copy(update={"as_of": one.state.last_sequence})
            for key, one in after.items()
        }
        return _answer(request, keys, refused | late)

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
        return _answer(request, {}, {})

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
            end = lease_end(stored.model, key, stored.stored_at)
            left = end - await self.bus.time(Stream.LEASES)
            left_s = min(leased.lease_s, left.total_seconds())  # the clock may have gone back
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
        keys: Iterable[str],
        receipt: Receipt,
        known: Mapping[str, LeasedKey],
        before: Mapping[str, LeasedKey],
        renewed: Mapping[str, LeasedKey],
    ) -> _Judged:
        """Each key with what is proved of it, or why it is refused; all are asked for at once.

        ``known``: by which leases versions are proved already; ``before``: what the instance had before this request.
        """
        names = list(keys)
        judged = await asyncio.gather(
            *(self._one_held(receipt, k, known.get(k), before.get(k), renewed.get(k)) for k in names),
            return_exceptions=True,
        )
        held: dict[str, _Held] = {}
        refused: dict[str, RekeyError] = {}
        for key, one in zip(names, judged, strict=True):
            if isinstance(one, _Held):
                held[key] = one
            elif isinstance(one, _OF_THE_KEY):
                refused[key] = one
            else:
                raise one
        return held, refused

    async def _one_held(
        self,
        receipt: Receipt,
        key: str,
        known: LeasedKey | None,
        before: LeasedKey | None,
        renewed: LeasedKey | None,
    ) -> _Held:
        state = await self.keylog.confirmed(key)
        granting.check_granted(state, receipt.dependent)
        lease_s = class_named(state.key_class or "").lease_s
        said = receipt.keys.get(key)
        protects, found = said.protects if said else None, []
        for version in granting.versions_to_prove(state, self.emergencies.denied(state)):
            if (known and version in known.versions) or await self._is_proved(state, version, receipt):
                found.append(version)
            elif renewed is None or not granting.may_be_proved_later(state, version, protects, renewed.as_of):
                message = f"{key}@{version} is not proved by the receipt of {receipt.instance}"
                raise NotInstalledError(message, hint="install the version, write a receipt, ask again")
        granting.check_protects(state, protects, before.as_of if before else 0)
        return _Held(state, tuple(found), protects, lease_s)

    async def _is_proved(self, state: KeyState, version: int, receipt: Receipt) -> bool:
        said = receipt.keys.get(state.key)
        if said is None or version not in said.proofs:
            return False
        return proved(receipt, state, version, "installed", await self.deliveries.of(state.key, version))

    def _leased(self, held: _Held, quota: Quota | None, at_most_s: int | None) -> LeasedKey:
        lease_s = max(1, held.lease_s // self.divisor)
        return LeasedKey(
            versions=held.versions,
            as_of=held.state.last_sequence,
            lease_s=min(lease_s, at_most_s or lease_s),
            quota=quota,
        )

    async def _quota(self, request: LeaseRequest, held: _Held, before: LeasedKey | None) -> Quota | None:
        """What the instance has of the current version in all, with what it wants more and the budget can give."""
        state = held.state
        version = granting.counted_version(state, self.emergencies.denied(state))
        if version is None:
            return None
        had = _given(before, version)
        more = granting.total_of(state, version, held.protects, request.wanted.get(state.key)) - had
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
    stands there untold may have been refused after it was stored, and shows nothing; nor does the part of a key that was
    refused.
    """
    if previous is None or previous.model.nonce != request.after:
        return {}
    lease = previous.model
    given = {key: leased for key, leased in lease.keys.items() if key not in lease.until}
    return {key: leased for key, leased in given.items() if now <= lease_end(lease, key, previous.stored_at)}


def _overtaken(request: LeaseRequest, previous: Stored[Lease] | None) -> frozenset[str]:
    """Keys that are not asked for by who does not name the lease that has them: a newer request may have overtaken this one.

    Its instance may have been told of them. Who was told, and wants one no more, names that lease in the next request.
    """
    if previous is None or previous.model.nonce == request.after or request.protocol < REFUSED_BY_KEY:
        return frozenset()
    return frozenset(previous.model.keys.keys() - set(request.keys))


def _ends(stored: Stored[Lease] | None, kept: Iterable[str]) -> dict[str, datetime]:
    """When that is over what stands there of keys that are not given, by the clock of the bus: as it would have been."""
    if stored is None:
        return {}
    known = (key for key in kept if key in stored.model.keys)
    return {key: lease_end(stored.model, key, stored.stored_at) for key in known}


def _check_understood(request: LeaseRequest, refused: Mapping[str, RekeyError]) -> None:
    """Raise the first refusal, if there is one and the asker knows none that is of one key alone (decision 0037)."""
    if request.protocol < REFUSED_BY_KEY:
        for error in refused.values():
            raise error


def _growth(held: Mapping[str, _Held], previous: Stored[Lease] | None) -> int:
    """How many bytes at most are added to what is kept of the instance; a renewal of the same keys is no growth."""
    first, known = (shares.FIRST_BYTES, frozenset()) if previous is None else (0, previous.model.keys.keys())
    return first + shares.bytes_of({key: one.versions for key, one in held.items() if key not in known})


def _given(leased: LeasedKey | None, version: int) -> int:
    quota = leased.quota if leased else None
    return quota.messages if quota is not None and quota.version == version else 0


def _answer(
    request: LeaseRequest, keys: dict[str, LeasedKey], refused: Mapping[str, RekeyError]
) -> LeaseAnswer:
    return LeaseAnswer(
        env=request.env,
        dependent=request.dependent,
        instance=request.instance,
        nonce=request.nonce,
        keys=keys,
        refused={key: _refusal(error) for key, error in refused.items()},
    )


def _refusal(error: RekeyError) -> KeyRefusal:
    is_open = isinstance(error, RetryableError)
    return KeyRefusal(code=error.code, message=str(error), hint=error.hint, retry=is_open)
