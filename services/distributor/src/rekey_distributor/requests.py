"""Core requests of instances: opened, answered, signed, and sealed where they hold material or a dependent's data.

Every request gets an answer if it can be told whose it is; what cannot is reported and stays unanswered.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from rekey_core.contracts import (
    Answer,
    DecryptInput,
    DecryptRequest,
    EncryptInput,
    EncryptRequest,
    LeaseAnswer,
    LeaseRequest,
    MacInput,
    MacRequest,
    MaterialRequest,
    ProbeRequest,
    RefusalAnswer,
    Request,
    RequestHead,
    SealedRequest,
    SealingAnswer,
    SealingRequest,
    SignRequest,
    VerifyInput,
    VerifyRequest,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import parse, sign
from rekey_core.errors import RefusedError, RekeyError, ReplayedError, RetryableError
from rekey_core.readers import check_age, open_asked, read_request
from rekey_core.sealing import request_info, seal, seal_info
from rekey_distributor.leasing import Leasing
from rekey_distributor.releasing import Releasing
from rekey_distributor.sealing_keys import SealingKeys
from rekey_distributor.using import Input, Using
from rekey_runtime.about import note_code
from rekey_runtime.bus import Bus
from rekey_runtime.clock import BusClock

SEALED_HEADER: Final = "Rekey-Sealed"
REMEMBERED_NONCES: Final = 100_000  # more than may arrive in MAX_REQUEST_AGE_S at the bus's rate

_INPUTS: Final[Mapping[type[Request], type[Input]]] = MappingProxyType(
    {
        EncryptRequest: EncryptInput,
        DecryptRequest: DecryptInput,
        MacRequest: MacInput,
        VerifyRequest: VerifyInput,
    }
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requests:
    """From a request's bytes to its answer's bytes and headers."""

    bus: Bus
    releasing: Releasing
    using: Using
    leasing: Leasing
    clock: BusClock
    sealing: SealingKeys
    _nonces: OrderedDict[str, None] = field(default_factory=OrderedDict)

    async def on_request(self, subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        """Answer one request. Raises MalformedError leaves for what nobody can be told about."""
        asked = await self.bus.trust.fresh(lambda trust: open_asked(subject, data, trust))
        try:
            request = read_request(asked)
        except RefusedError as error:  # a protocol that is not spoken here: the asker is known all the same
            return sign(_refused(asked.head, error, subject), self.bus.signer).model_dump_json().encode(), {}
        try:
            check_age(request, self.clock.now())
            self._first_time(request)
            answer = await self._answer(request)
        except RekeyError as error:
            answer = _refused(request, error, subject)
        signed = sign(answer, self.bus.signer).model_dump_json().encode()
        if isinstance(request, MaterialRequest | SealedRequest) and not isinstance(answer, RefusalAnswer):
            return seal(
                b64u_decode(request.seal_to),
                signed,
                seal_info(request.env, request.dependent, request.instance, request.nonce),
            ), {SEALED_HEADER: "1"}
        return signed, {}

    async def _answer(self, request: Request) -> Answer:
        match request:
            case MaterialRequest():
                return await self.releasing.material(request)
            case LeaseRequest():
                return await self._lease(request)
            case ProbeRequest():
                return await self.using.probe(request)
            case SealingRequest():
                return self._sealing(request)
            case SignRequest():
                await self.leasing.check(request.dependent, request.instance, request.key)
                return await self.using.sign(request)
            case SealedRequest():
                await self.leasing.check(request.dependent, request.instance, request.key)
                return await self.using.use(request, self._unsealed(request))
        message = f"no answer to {type(request).__name__}"
        raise TypeError(message)

    async def _lease(self, request: LeaseRequest) -> LeaseAnswer:
        answer = await (self.leasing.end(request) if request.leaving else self.leasing.lease(request))
        if answer.refused:  # one line: a request may name a thousand keys
            key, refusal = min(answer.refused.items())
            note_code(refusal.code)
            said = {"event": "lease-refused", "key": key, "code": refusal.code}
            _log.info("lease of %d keys refused: %s", len(answer.refused), refusal.message, extra=said)
        return answer

    def _sealing(self, request: SealingRequest) -> SealingAnswer:
        return SealingAnswer(
            env=request.env,
            dependent=request.dependent,
            instance=request.instance,
            nonce=request.nonce,
            seal_to=b64u_encode(self.sealing.public_bytes()),
        )

    def _unsealed(self, request: SealedRequest) -> Input:
        """What is inside. Raises SignatureError when it is sealed to another key, SchemaError when it is something else."""
        info = request_info(request.env, request.dependent, request.instance, request.nonce, request.OP)
        payload = self.sealing.open(b64u_decode(request.sealed), info)
        model = _INPUTS[type(request)]
        return parse(payload, model.TYPE, (model,), where=f"inside the {request.OP} request")

    def _first_time(self, request: Request) -> None:
        if request.nonce in self._nonces:
            message = f"nonce {request.nonce} of {request.instance} was used before"
            raise ReplayedError(message)
        self._nonces[request.nonce] = None
        if len(self._nonces) > REMEMBERED_NONCES:
            self._nonces.popitem(last=False)


def _refused(request: Request | RequestHead, error: RekeyError, subject: str) -> RefusalAnswer:
    note_code(error.code)
    where = {"code": error.code, "subject": subject, "text": str(error)}
    _log.info("request refused", extra={"event": "request-refused", **where})
    return RefusalAnswer(
        env=request.env,
        dependent=request.dependent,
        instance=request.instance,
        nonce=request.nonce,
        code=error.code,
        message=str(error),
        hint=error.hint,
        retry=isinstance(error, RetryableError),
    )
