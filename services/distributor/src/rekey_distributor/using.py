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
from rekey_core.versions import Wrapped
from rekey_distributor import granting
from rekey_distributor.delivering import Delivering, Values
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.permits import Permits
from rekey_distributor.records import Records, context_of, kek_of
from rekey_hsm import DistributorHsm
from rekey_runtime.keylog import KeyLog

Input = EncryptInput | DecryptInput | MacInput | VerifyInput
Work = Callable[[Wrapped], Awaitable[bytes]]


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

        async def sign(lies: Wrapped) -> bytes:
            return await self._signed(lies, message)

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
        signature = await self._signed(granting.lies(state, request.version), message)
        return SignatureAnswer(**_common(request, state), signature=b64u_encode(signature))

    async def _confirmation(self, request: ProbeRequest) -> ConfirmationAnswer:
        delivered = await self.delivering.deliver(
            request,
            request.version,
            lambda state: self._check_probe(state, request),
            lambda lies, delivery: self._confirmed(lies, request.instance, delivery),
        )
        self._check_probe(delivered.state, request)  # the emergency lane may have spoken while the HSM worked
        values = delivered.values
        value = values.installed if request.phase == "installed" else values.switched
        common = _common(request, delivered.state)
        return ConfirmationAnswer(**common, delivery=delivered.delivery, value=value.hex())

    async def _confirmed(self, lies: Wrapped, instance: str, delivery: str) -> Values[None]:
        fact, context = lies.made, context_of(lies.made)
        inputs = (
            commitment_input(context),
            confirmation_input(context, "installed", instance, delivery),
            confirmation_input(context, "switched", instance, delivery),
        )
        blob = await self.records.blob(lies)
        commitment, installed, switched = await self.hsm.macs(kek_of(lies), blob, fact.algorithm, inputs)
        if secret_commitment(context, commitment) != fact.commitment:
            message = f"{fact.key}@{fact.version}: the unwrapped key is not the one that generated commits to"
            raise RecordError(message)
        return Values(None, installed, switched)

    def _work(self, given: Input) -> tuple[Operation, Work]:
        match given:
            case EncryptInput():
                return Operation.ENCRYPT, lambda lies: self._encrypt(lies, given)
            case DecryptInput():
                return Operation.DECRYPT, lambda lies: self._decrypt(lies, given)
            case MacInput():
                return Operation.MAC, lambda lies: self._mac(lies, given)
            case VerifyInput():
                return Operation.VERIFY, lambda lies: self._verify(lies, given)

    async def _encrypt(self, lies: Wrapped, given: EncryptInput) -> bytes:
        await self.permits.take(lies.made.key, lies.made.version)
        nonce = secrets.token_bytes(tink.NONCE_BYTES)
        plaintext, aad = b64u_decode(given.plaintext), b64u_decode(given.aad)
        sealed = await self.hsm.encrypt(kek_of(lies), await self.records.blob(lies), nonce, plaintext, aad)
        return tink.assemble(lies.made.key_id, nonce, sealed)

    async def _decrypt(self, lies: Wrapped, given: DecryptInput) -> bytes:
        nonce, sealed = tink.take_apart(lies.made.key_id, b64u_decode(given.ciphertext))
        blob = await self.records.blob(lies)
        return await self.hsm.decrypt(kek_of(lies), blob, nonce, sealed, b64u_decode(given.aad))

    async def _mac(self, lies: Wrapped, given: MacInput) -> bytes:
        data = application_mac_input(b64u_decode(given.message))
        blob = await self.records.blob(lies)
        (tag,) = await self.hsm.macs(kek_of(lies), blob, lies.made.algorithm, (data,))
        return mac_tagged(lies.made.key_id, tag)

    async def _verify(self, lies: Wrapped, given: VerifyInput) -> bytes:
        key_id, tag = parse_mac(b64u_decode(given.mac))
        if key_id != lies.made.key_id:
            message = f"expected a MAC under key id {lies.made.key_id}, found {key_id}"
            raise MacError(message)
        data = application_mac_input(b64u_decode(given.message))
        await self.hsm.verify_mac(kek_of(lies), await self.records.blob(lies), data, tag)
        return b""

    async def _used(
        self, key: str, check: Callable[[KeyState], Stored[Generated]], work: Work
    ) -> tuple[KeyState, bytes]:
        state = await self.keylog.confirmed(key)
        output = await work(granting.lies(state, check(state).model.version))
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

    async def _signed(self, lies: Wrapped, message: bytes) -> bytes:
        blob = await self.records.blob(lies)
        return await self.hsm.sign(kek_of(lies), blob, lies.made.algorithm, message)


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
