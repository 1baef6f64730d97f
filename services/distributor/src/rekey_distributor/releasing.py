"""Releases: versions that leave the HSM, wrapped inside it for the dependent (``delivering``).

Of release ``trusted-recipient``: to its trusted key. Of release ``transport-key``: under its AES key of this process, which
goes with them, wrapped to its trusted key.

The emergency lane is asked once more after the HSM worked, and before anything is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypedDict

from rekey_core.confirmation import commitment_input, confirmation_input, secret_commitment
from rekey_core.contracts import Generated, MaterialAnswer, MaterialRequest, ReleasedVersion
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import Stored
from rekey_core.errors import RecordError
from rekey_core.fold import KeyState
from rekey_core.names import Algorithm, Release
from rekey_core.versions import Wrapped
from rekey_distributor import granting
from rekey_distributor.delivering import Delivered, Delivering, Values
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.records import Records, context_of, kek_of
from rekey_hsm import DistributorHsm, Released
from rekey_runtime.bus import Bus
from rekey_runtime.clock import BusClock


class _Wanted(TypedDict):
    recipient: str
    recipient_spki_sha256: str
    mac_inputs: tuple[bytes, ...]
    algorithm: Algorithm


@dataclass(frozen=True)
class Releasing:
    """The distributor's wrapping for others."""

    bus: Bus
    hsm: DistributorHsm
    records: Records
    delivering: Delivering
    emergencies: Emergencies
    clock: BusClock

    async def material(self, request: MaterialRequest) -> MaterialAnswer:
        """The versions asked for, wrapped to the dependent's transport key. Raises what makes the refusal.

        None of them waits until another one is stored: who asks waits for one round to the log, not for sixteen.
        """
        given = await asyncio.gather(
            *(self._release(request, version) for version in request.versions), return_exceptions=True
        )
        delivered = [_or_raised(one) for one in given]
        state = max((one.state for one in delivered), key=lambda state: state.last_sequence)
        for version in request.versions:  # the emergency lane may have spoken while the HSM worked
            self._check(state, request, version)
        return MaterialAnswer(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            nonce=request.nonce,
            key=request.key,
            as_of=state.last_sequence,
            releases=tuple(_released(one, state) for one in delivered),
        )

    async def _release(self, request: MaterialRequest, version: int) -> Delivered[Released]:
        return await self.delivering.deliver(
            request,
            version,
            lambda state: self._check(state, request, version),
            lambda lies, delivery: self._wrapped(request, lies, delivery),
        )

    def _check(self, state: KeyState, request: MaterialRequest, version: int) -> Stored[Generated]:
        return granting.check_release(state, request.dependent, version, self.emergencies.denied(state))

    async def _wrapped(self, request: MaterialRequest, lies: Wrapped, delivery: str) -> Values[Released]:
        fact, context = lies.made, context_of(lies.made)
        recipient = self.bus.trust.current.dependent(request.dependent)
        wanted = _Wanted(
            recipient=request.dependent,
            recipient_spki_sha256=recipient.transport_key,
            mac_inputs=(
                commitment_input(context),
                confirmation_input(context, "installed", request.instance, delivery),
                confirmation_input(context, "switched", request.instance, delivery),
            ),
            algorithm=fact.algorithm,
        )
        out = await self._out(lies, wanted)
        commitment, installed, switched = out.macs
        if secret_commitment(context, commitment) != fact.commitment:
            message = f"{fact.key}@{fact.version}: the unwrapped key is not the one that generated commits to"
            raise RecordError(message)
        return Values(out, installed, switched)

    async def _out(self, lies: Wrapped, wanted: _Wanted) -> Released:
        kek, blob = kek_of(lies), await self.records.blob(lies)
        if lies.made.release is Release.TRANSPORT_KEY:
            return await self.hsm.release_under_transport_key(kek, blob, **wanted, at=self.clock.now())
        return await self.hsm.release_secret(kek, blob, **wanted)


def _or_raised(result: Delivered[Released] | BaseException) -> Delivered[Released]:
    if isinstance(result, BaseException):
        raise result
    return result


def _released(delivered: Delivered[Released], state: KeyState) -> ReleasedVersion:
    version, out = delivered.generated.model.version, delivered.values.given
    activated = state.versions[version].activated
    return ReleasedVersion(
        version=version,
        delivery=delivered.delivery,
        wrapped=b64u_encode(out.wrapped),
        transport=None if out.transport is None else b64u_encode(out.transport),
        generated=delivered.generated.signed,
        activated=activated.signed if activated else None,
    )
