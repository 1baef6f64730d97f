"""Releases and in-HSM use, answered only after everything that allows them was checked against the leader.

Order for material: decide at a state → HSM → ``delivered`` stored with that state's check (the atomic point) → emergency
lane once more → answer. A crash before the point leaves nothing; after it a delivery that the instance asks for again.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, Literal

from rekey_core.confirmation import commitment_input, confirmation_input, probe_message
from rekey_core.contracts import (
    Delivery,
    Generated,
    MaterialAnswer,
    MaterialRequest,
    ProbeRequest,
    ReleasedVersion,
    SignatureAnswer,
    SignRequest,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import Stored
from rekey_core.errors import ConflictError, RecordError
from rekey_core.fold import KeyState
from rekey_distributor import granting
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.records import Records, context_of
from rekey_hsm import DistributorHsm, Released, kek_label
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog

_TRIES: Final = 5  # decisions taken again because the key moved meanwhile

Phase = Literal["installed", "switched"]


@dataclass(frozen=True)
class Releasing:
    """The distributor's use of its HSM for others."""

    bus: Bus
    keylog: KeyLog
    hsm: DistributorHsm
    records: Records
    deliveries: Deliveries
    emergencies: Emergencies

    async def material(self, request: MaterialRequest) -> MaterialAnswer:
        """The versions asked for, wrapped to the dependent's transport key. Raises what makes the refusal."""
        releases = []
        state = await self.keylog.confirmed(request.key)
        for version in request.versions:
            released, state = await self._release(request, version)
            releases.append(released)
        for version in request.versions:  # the emergency lane may have spoken while the HSM worked
            granting.check_release(state, request.dependent, version, self.emergencies.denied(state))
        return MaterialAnswer(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            nonce=request.nonce,
            key=request.key,
            as_of=state.last_sequence,
            releases=tuple(releases),
        )

    async def sign(self, request: SignRequest) -> SignatureAnswer:
        """One signature over the message of a dependent."""
        message = b64u_decode(request.message)
        state = await self.keylog.confirmed(request.key)
        denied = self.emergencies.denied(state)
        generated = granting.check_sign(state, request.dependent, request.version, message, denied)
        signature = await self._signed(generated.model, message)
        granting.check_sign(
            state, request.dependent, request.version, message, self.emergencies.denied(state)
        )
        return self._signature(request, state, signature)

    async def probe(self, request: ProbeRequest) -> SignatureAnswer:
        """One signature over a message that the distributor builds: the instance reaches this version."""
        state = await self.keylog.confirmed(request.key)
        denied = self.emergencies.denied(state)
        generated = granting.check_probe(state, request.dependent, request.version, request.phase, denied)
        message = probe_message(context_of(generated.model), request.phase, request.instance, request.nonce)
        return self._signature(request, state, await self._signed(generated.model, message))

    async def _release(self, request: MaterialRequest, version: int) -> tuple[ReleasedVersion, KeyState]:
        for attempt in range(_TRIES):
            state = await self.keylog.confirmed(request.key)
            generated = granting.check_release(
                state, request.dependent, version, self.emergencies.denied(state)
            )
            before = await self.deliveries.found(request.key, version, request.instance)
            delivery = before.delivery if before else secrets.token_hex(16)
            wrapped, installed, switched = await self._wrapped(request, generated.model, delivery)
            try:
                if before is None:
                    hashes = Delivery(
                        delivery=delivery,
                        dependent=request.dependent,
                        instance=request.instance,
                        installed=hashlib.sha256(installed).hexdigest(),
                        switched=hashlib.sha256(switched).hexdigest(),
                    )
                    await self.deliveries.record(state, version, hashes)
                else:
                    state = await self._unmoved(request.key, state)
            except ConflictError:
                if attempt == _TRIES - 1:
                    raise
                continue
            return self._released(state, generated, delivery, wrapped), state
        message = "the loop returns or raises"
        raise AssertionError(message)

    async def _unmoved(self, key: str, state: KeyState) -> KeyState:
        """A second delivery adds no fact: the leader must say that the state is still the last one."""
        again = await self.keylog.confirmed(key)
        if again.last_sequence != state.last_sequence:
            message = f"{key}: decided at {state.last_sequence}, the log is at {again.last_sequence}"
            raise ConflictError(message)
        return again

    async def _wrapped(
        self, request: MaterialRequest, fact: Generated, delivery: str
    ) -> tuple[bytes, bytes, bytes]:
        context = context_of(fact)
        recipient = self.bus.trust.current.dependent(request.dependent)
        out: Released = await self.hsm.release_secret(
            kek_label(fact.env, fact.release, fact.algorithm, fact.epoch),
            await self.records.blob(fact),
            recipient=request.dependent,
            recipient_spki_sha256=recipient.transport_key,
            mac_inputs=(
                commitment_input(context),
                confirmation_input(context, "installed", request.instance, delivery),
                confirmation_input(context, "switched", request.instance, delivery),
            ),
        )
        commitment, installed, switched = out.macs
        if commitment.hex() != fact.commitment:
            message = f"{fact.key}@{fact.version}: the unwrapped key is not the one that generated commits to"
            raise RecordError(message)
        return out.wrapped, installed, switched

    def _released(
        self, state: KeyState, generated: Stored[Generated], delivery: str, wrapped: bytes
    ) -> ReleasedVersion:
        activated = state.versions[generated.model.version].activated
        return ReleasedVersion(
            version=generated.model.version,
            delivery=delivery,
            wrapped=b64u_encode(wrapped),
            generated=generated.signed,
            activated=activated.signed if activated else None,
        )

    async def _signed(self, fact: Generated, message: bytes) -> bytes:
        kek = kek_label(fact.env, fact.release, fact.algorithm, fact.epoch)
        return await self.hsm.sign(kek, await self.records.blob(fact), fact.algorithm, message)

    def _signature(
        self, request: SignRequest | ProbeRequest, state: KeyState, signature: bytes
    ) -> SignatureAnswer:
        return SignatureAnswer(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            nonce=request.nonce,
            key=request.key,
            version=request.version,
            as_of=state.last_sequence,
            signature=b64u_encode(signature),
        )
