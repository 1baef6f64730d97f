"""Core requests of instances: opened, answered, signed, and sealed where they hold material.

Every request gets an answer if it can be told whose it is; what cannot is reported and stays unanswered.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from rekey_core.contracts import (
    Answer,
    LeaseRequest,
    MaterialRequest,
    ProbeRequest,
    RefusalAnswer,
    Request,
    SignRequest,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import sign
from rekey_core.errors import RekeyError, ReplayedError, RetryableError
from rekey_core.readers import check_age, open_request
from rekey_core.sealing import seal, seal_info
from rekey_distributor.leasing import Leasing
from rekey_distributor.releasing import Releasing
from rekey_runtime.bus import Bus
from rekey_runtime.clock import BusClock

SEALED_HEADER: Final = "Rekey-Sealed"
REMEMBERED_NONCES: Final = 100_000  # more than may arrive in MAX_REQUEST_AGE_S at the bus's rate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requests:
    """From a request's bytes to its answer's bytes and headers."""

    bus: Bus
    releasing: Releasing
    leasing: Leasing
    clock: BusClock
    _nonces: OrderedDict[str, None] = field(default_factory=OrderedDict)

    async def on_request(self, subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        """Answer one request. Raises MalformedError leaves for what nobody can be told about."""
        request = await self.bus.trust.fresh(lambda trust: open_request(subject, data, trust))
        try:
            check_age(request, self.clock.now())
            self._first_time(request)
            answer = await self._answer(request)
        except RekeyError as error:
            _log.info(
                "request refused",
                extra={
                    "event": "request-refused",
                    "code": error.code,
                    "subject": subject,
                    "text": str(error),
                },
            )
            answer = _refusal(request, error)
        signed = sign(answer, self.bus.signer).model_dump_json().encode()
        if isinstance(request, MaterialRequest) and not isinstance(answer, RefusalAnswer):
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
                return await (self.leasing.end(request) if request.leaving else self.leasing.lease(request))
            case ProbeRequest():
                return await self.releasing.probe(request)
            case SignRequest():
                await self.leasing.check(request.dependent, request.instance, request.key)
                return await self.releasing.sign(request)
        message = f"no answer to {type(request).__name__}"
        raise TypeError(message)

    def _first_time(self, request: Request) -> None:
        if request.nonce in self._nonces:
            message = f"nonce {request.nonce} of {request.instance} was used before"
            raise ReplayedError(message)
        self._nonces[request.nonce] = None
        if len(self._nonces) > REMEMBERED_NONCES:
            self._nonces.popitem(last=False)


def _refusal(request: Request, error: RekeyError) -> RefusalAnswer:
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
