"""The first giving of a version to an instance: nothing of it is answered before the fact that says so is stored.

Order: decide at a state → HSM → ``delivered`` stored with that state's check (the atomic point). A crash before the point
leaves nothing; after it a delivery that the instance asks for again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rekey_core.contracts import Delivery, Generated, MaterialRequest, ProbeRequest
from rekey_core.envelope import Stored
from rekey_core.errors import ConflictError
from rekey_core.fold import KeyState
from rekey_core.versions import Wrapped
from rekey_distributor import granting
from rekey_distributor.deliveries import Deliveries
from rekey_runtime.keylog import KeyLog

T = TypeVar("T")
_TRIES: Final = 5  # decisions taken again because the key moved meanwhile

Check = Callable[[KeyState], Stored[Generated]]


@dataclass(frozen=True)
class Values(Generic[T]):
    """What the HSM made for one delivery: what is given, and the two confirmation values that prove it."""

    given: T
    installed: bytes
    switched: bytes


@dataclass(frozen=True)
class Delivered(Generic[T]):
    """A recorded delivery, and the state at which it was decided."""

    delivery: str
    values: Values[T]
    generated: Stored[Generated]
    state: KeyState


@dataclass(frozen=True)
class Delivering:
    """Decides, has the HSM work, records; again when the key moved meanwhile."""

    keylog: KeyLog
    deliveries: Deliveries

    async def deliver(
        self,
        request: MaterialRequest | ProbeRequest,
        version: int,
        check: Check,
        make: Callable[[Wrapped, str], Awaitable[Values[T]]],
    ) -> Delivered[T]:
        """Deliver one version to the asker. Raises what ``check`` and ``make`` raise, and ConflictError."""
        for attempt in range(_TRIES):
            state = await self.keylog.confirmed(request.key)
            generated = check(state)
            before = await self.deliveries.found(request.key, version, request.instance)
            delivery = before.delivery if before else secrets.token_hex(16)
            values = await make(granting.lies(state, version), delivery)
            try:
                if before is None:
                    await self.deliveries.record(state, version, _hashes(request, delivery, values))
                else:
                    state = await self._unmoved(request.key, state)
            except ConflictError:
                if attempt == _TRIES - 1:
                    raise
                continue
            return Delivered(delivery, values, generated, state)
        message = "the loop returns or raises"
        raise AssertionError(message)

    async def _unmoved(self, key: str, state: KeyState) -> KeyState:
        """A second delivery adds no fact: the leader must say that the state is still the last one."""
        again = await self.keylog.confirmed(key)
        if again.last_sequence != state.last_sequence:
            message = f"{key}: decided at {state.last_sequence}, the log is at {again.last_sequence}"
            raise ConflictError(message)
        return again


def _hashes(request: MaterialRequest | ProbeRequest, delivery: str, values: Values[T]) -> Delivery:
    return Delivery(
        delivery=delivery,
        dependent=request.dependent,
        instance=request.instance,
        installed=hashlib.sha256(values.installed).hexdigest(),
        switched=hashlib.sha256(values.switched).hexdigest(),
    )
