"""Use inside the HSM for a dependent, answered only after everything that allows it was checked against the leader.

A use adds no fact: decide at a state that the leader confirms → HSM → emergency lane once more → answer. A probe of a
secret is a delivery of its confirmation values, recorded before it is answered (``delivering``).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypedDict

from rekey_core import ciphertext as tink
from rekey_core.confirmation import (
    application_mac_input,
    commitment_input,
    confirmation_input,
    probe_message,
    secret_commitment,
)
from rekey_core.contracts import (
    ConfirmationAnswer,
    DecryptInput,
    EncryptInput,
    Generated,
    MacInput,
    ProbeRequest,
    SealedRequest,
    SignatureAnswer,
    SignRequest,
    UsedAnswer,
    VerifyInput,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import Stored
from rekey_core.errors import MacError, RecordError
from rekey_core.fold import KeyState
from rekey_core.mac import parse_mac
from rekey_core.mac import tagged as mac_tagged
from rekey_core.signatures import SCHEMES
from rekey_core.uses import Operation
from rekey_distributor import granting
from rekey_distributor.delivering import Delivering, Values
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.permits import Permits
from rekey_distributor.records import Records, context_of
from rekey_hsm import DistributorHsm, kek_label
from rekey_runtime.keylog import KeyLog

Input = EncryptInput | DecryptInput | MacInput | VerifyInput
Work = Callable[[Generated], Awaitable[bytes]]


class _Common(TypedDict):
    env: str
    dependent: str
    instance: str
    nonce: str
    key: str
    version: int
    as_of: int


@dataclass(frozen=True)
class Using:
    """The distributor's use of its HSM for others."""

    keylog: KeyLog
    hsm: DistributorHsm
    records: Records
    delivering: Delivering
    emergencies: Emergencies
    permits: Permits

    async def sign(self, request: SignRequest) -> SignatureAnswer:
        """One signature over the message of a dependent."""
        message = b64u_decode(request.message)

        async def sign(fact: Generated) -> bytes:
            return await self._signed(fact, message)

        def check(state: KeyState) -> Stored[Generated]:
            granting.check_message(state, request.version, message)
            return self._check(state, request, Operation.SIGN)

        state, signature = await self._used(request.key, check, sign)
        return SignatureAnswer(**_common(request, state), signature=b64u_encode(signature))

    async def use(self, request: SealedRequest, given: Input) -> UsedAnswer:
        """What the request asks for with what was sealed inside it. The answer must be sealed."""
        operation, work = self._work(given)
        state, output = await self._used(
            request.key, lambda state: self._check(state, request, operation), work
        )
        return UsedAnswer(**_common(request, state), output=b64u_encode(output))

    async def probe(self, request: ProbeRequest) -> SignatureAnswer | ConfirmationAnswer:
        """The instance reaches this version: proved by what the HSM makes of an input that the distributor builds."""
        state = await self.keylog.confirmed(request.key)
        generated = self._check_probe(state, request)
        if generated.model.algorithm not in SCHEMES:
            return await self._confirmation(request)
        context = context_of(generated.model)
        message = probe_message(context, request.phase, request.instance, request.nonce)
        signature = await self._signed(generated.model, message)
        return SignatureAnswer(**_common(request, state), signature=b64u_encode(signature))

    async def _confirmation(self, request: ProbeRequest) -> ConfirmationAnswer:
        delivered = await self.delivering.deliver(
            request,
            request.version,
            lambda state: self._check_probe(state, request),
            lambda fact, delivery: self._confirmed(fact, request.instance, delivery),
        )
        self._check_probe(delivered.state, request)  # the emergency lane may have spoken while the HSM worked
        values = delivered.values
        value = values.installed if request.phase == "installed" else values.switched
        common = _common(request, delivered.state)
        return ConfirmationAnswer(**common, delivery=delivered.delivery, value=value.hex())

    async def _confirmed(self, fact: Generated, instance: str, delivery: str) -> Values[None]:
        context = context_of(fact)
        inputs = (
            commitment_input(context),
            confirmation_input(context, "installed", instance, delivery),
            confirmation_input(context, "switched", instance, delivery),
        )
        blob = await self.records.blob(fact)
        commitment, installed, switched = await self.hsm.macs(_kek(fact), blob, fact.algorithm, inputs)
        if secret_commitment(context, commitment) != fact.commitment:
            message = f"{fact.key}@{fact.version}: the unwrapped key is not the one that generated commits to"
            raise RecordError(message)
        return Values(None, installed, switched)

    def _work(self, given: Input) -> tuple[Operation, Work]:
        match given:
            case EncryptInput():
                return Operation.ENCRYPT, lambda fact: self._encrypt(fact, given)
            case DecryptInput():
                return Operation.DECRYPT, lambda fact: self._decrypt(fact, given)
            case MacInput():
                return Operation.MAC, lambda fact: self._mac(fact, given)
            case VerifyInput():
                return Operation.VERIFY, lambda fact: self._verify(fact, given)

    async def _encrypt(self, fact: Generated, given: EncryptInput) -> bytes:
        await self.permits.take(fact.key, fact.version)
        nonce = secrets.token_bytes(tink.NONCE_BYTES)
        plaintext, aad = b64u_decode(given.plaintext), b64u_decode(given.aad)
        sealed = await self.hsm.encrypt(_kek(fact), await self.records.blob(fact), nonce, plaintext, aad)
        return tink.assemble(fact.key_id, nonce, sealed)

    async def _decrypt(self, fact: Generated, given: DecryptInput) -> bytes:
        nonce, sealed = tink.take_apart(fact.key_id, b64u_decode(given.ciphertext))
        blob = await self.records.blob(fact)
        return await self.hsm.decrypt(_kek(fact), blob, nonce, sealed, b64u_decode(given.aad))

    async def _mac(self, fact: Generated, given: MacInput) -> bytes:
        data = application_mac_input(b64u_decode(given.message))
        blob = await self.records.blob(fact)
        (tag,) = await self.hsm.macs(_kek(fact), blob, fact.algorithm, (data,))
        return mac_tagged(fact.key_id, tag)

    async def _verify(self, fact: Generated, given: VerifyInput) -> bytes:
        key_id, tag = parse_mac(b64u_decode(given.mac))
        if key_id != fact.key_id:
            message = f"expected a MAC under key id {fact.key_id}, found {key_id}"
            raise MacError(message)
        data = application_mac_input(b64u_decode(given.message))
        await self.hsm.verify_mac(_kek(fact), await self.records.blob(fact), data, tag)
        return b""

    async def _used(
        self, key: str, check: Callable[[KeyState], Stored[Generated]], work: Work
    ) -> tuple[KeyState, bytes]:
        state = await self.keylog.confirmed(key)
        output = await work(check(state).model)
        check(state)  # the emergency lane may have spoken while the HSM worked
        return state, output

    def _check(
        self, state: KeyState, request: SignRequest | SealedRequest, operation: Operation
    ) -> Stored[Generated]:
        denied = self.emergencies.denied(state)
        return granting.check_use(state, request.dependent, request.version, operation, denied)

    def _check_probe(self, state: KeyState, request: ProbeRequest) -> Stored[Generated]:
        denied = self.emergencies.denied(state)
        return granting.check_probe(state, request.dependent, request.version, request.phase, denied)

    async def _signed(self, fact: Generated, message: bytes) -> bytes:
        return await self.hsm.sign(_kek(fact), await self.records.blob(fact), fact.algorithm, message)


def _kek(fact: Generated) -> str:
    return kek_label(fact.env, fact.release, fact.algorithm, fact.epoch)


def _common(request: ProbeRequest | SignRequest | SealedRequest, state: KeyState) -> _Common:
    return _Common(
        env=request.env,
        dependent=request.dependent,
        instance=request.instance,
        nonce=request.nonce,
        key=request.key,
        version=request.version,
        as_of=state.last_sequence,
    )
