"""What an instance asks the distributor for: one signed question, one answer that is verified before it is believed.

Every method is one try with a nonce of its own. Material is taken only sealed to the key that this very try brought.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypedDict, TypeVar

from rekey.clock import Clock
from rekey.connection import Connection
from rekey.errors import refusal_error
from rekey.identity import Identity
from rekey.trust_cache import TrustCache
from rekey_core.authority import Subjects
from rekey_core.confirmation import Phase
from rekey_core.contracts import (
    PROTOCOL,
    Answer,
    ConfirmationAnswer,
    Endorsement,
    LeaseAnswer,
    LeaseRequest,
    MaterialAnswer,
    MaterialRequest,
    ProbeRequest,
    ProbeSignature,
    Quota,
    RefusalAnswer,
    Request,
    SealedRequest,
    SealingAnswer,
    SealingRequest,
    SignatureAnswer,
    Signed,
    SignRequest,
    UsedAnswer,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import sign
from rekey_core.errors import AuthorityError, ExpiredError, MalformedError, UnavailableError
from rekey_core.readers import open_answer
from rekey_core.sealing import SealingKey, seal_info

SEALED_HEADER: Final = "Rekey-Sealed"

A = TypeVar("A", bound=Answer)


class Common(TypedDict):
    """What every request says."""

    protocol: int
    env: str
    dependent: str
    instance: str
    endorsement: Endorsement
    nonce: str
    sent_at: datetime


@dataclass(frozen=True)
class Requests:
    """The questions, and the farewell.

    Each raises ``UnavailableError`` when nobody answers, when the answer cannot be believed or when the distributor says
    "not now", and the refusal's own error when it says no.
    """

    connection: Connection
    identity: Identity
    trust: TrustCache
    within_s: float
    clock: Clock = field(default_factory=Clock)

    async def material(self, key: str, versions: Sequence[int]) -> MaterialAnswer:
        """These versions, wrapped to the transport key."""
        sealing = SealingKey.generate()
        common = self.common()
        request = MaterialRequest(
            **common, key=key, versions=tuple(versions), seal_to=b64u_encode(sealing.public_bytes())
        )
        answer = await self.unsealed(request, sealing, MaterialAnswer)
        if answer.key != key or {release.version for release in answer.releases} != set(versions):
            raise UnavailableError(f"key {key}: the answer is about other versions than the request")
        return answer

    async def lease(
        self,
        keys: Sequence[str],
        receipt: Signed,
        wanted: Mapping[str, Quota] = MappingProxyType({}),
        *,
        after: str | None = None,
        at_most_s: int | None = None,
    ) -> LeaseAnswer:
        """A lease for each of these keys that is not refused; the receipt proves what is held. ``wanted``: messages, by key.

        ``after``: the nonce of the answer that brought the lease before; ``at_most_s``: no longer lease, by wish.
        """
        request = LeaseRequest(
            **self.common(),
            keys=tuple(keys),
            receipt=receipt,
            wanted=dict(wanted),
            after=after,
            at_most_s=at_most_s,
        )
        answer = await self._answer(request, LeaseAnswer)
        if sorted([*answer.keys, *answer.refused]) != sorted(keys):
            raise UnavailableError("the lease is about other keys than the request, or none")
        return answer

    async def leave(self, keys: Sequence[str], receipt: Signed) -> None:
        """End the lease: this instance uses nothing any more. The receipt is the last one; it need not prove anything."""
        request = LeaseRequest(**self.common(), keys=tuple(keys), receipt=receipt, leaving=True)
        answer = await self._answer(request, LeaseAnswer)
        if answer.keys:
            raise UnavailableError(f"the lease is not ended, it goes on for {', '.join(sorted(answer.keys))}")

    async def sealing_key(self) -> bytes:
        """The key to which the distributor wants requests sealed."""
        answer = await self._answer(SealingRequest(**self.common()), SealingAnswer)
        return b64u_decode(answer.seal_to)

    async def confirmation(self, key: str, version: int, phase: Phase) -> tuple[str, str]:
        """Delivery and confirmation value (hex) of a secret that never leaves the HSM."""
        request = ProbeRequest(**self.common(), key=key, version=version, phase=phase)
        answer = await self._answer(request, ConfirmationAnswer)
        _check_about(answer, request)
        return answer.delivery, answer.value

    async def probe(self, key: str, version: int, phase: Phase) -> ProbeSignature:
        """The HSM's signature over this instance's probe."""
        request = ProbeRequest(**self.common(), key=key, version=version, phase=phase)
        signature = await self._signature(request)
        return ProbeSignature(nonce=request.nonce, signature=b64u_encode(signature))

    async def sign(self, key: str, version: int, message: bytes) -> bytes:
        """The HSM's signature over a message: r‖s."""
        request = SignRequest(**self.common(), key=key, version=version, message=b64u_encode(message))
        return await self._signature(request)

    async def _signature(self, request: ProbeRequest | SignRequest) -> bytes:
        answer = await self._answer(request, SignatureAnswer)
        _check_about(answer, request)
        return b64u_decode(answer.signature)

    async def used(self, request: SealedRequest, sealing: SealingKey) -> bytes:
        """What came of a use inside the HSM."""
        answer = await self.unsealed(request, sealing, UsedAnswer)
        _check_about(answer, request)
        return b64u_decode(answer.output)

    async def unsealed(
        self, request: MaterialRequest | SealedRequest, sealing: SealingKey, model: type[A]
    ) -> A:
        """The answer to a request that brought this sealing key: sealed to it, or a refusal."""
        data, headers = await self._send(request)
        if headers.get(SEALED_HEADER) == "1":
            info = seal_info(request.env, request.dependent, request.instance, request.nonce)
            return await self._open(lambda: sealing.open(data, info), request, (model,))
        return await self._open(lambda: data, request, ())  # in clear nothing but a refusal is an answer

    def common(self) -> Common:
        """What every request says, with a nonce of its own."""
        identity = self.identity
        return Common(
            protocol=PROTOCOL,
            env=identity.env,
            dependent=identity.dependent,
            instance=identity.instance,
            endorsement=identity.endorsement,
            nonce=secrets.token_hex(16),
            sent_at=self.clock.now(),
        )

    async def _send(self, request: Request) -> tuple[bytes, Mapping[str, str]]:
        subject = Subjects(request.env).request(request.dependent, request.instance, request.OP)
        data = sign(request, self.identity.key).model_dump_json().encode()
        return await self.connection.request(subject, data, self.within_s)

    async def _answer(self, request: Request, model: type[A]) -> A:
        data, _ = await self._send(request)
        return await self._open(lambda: data, request, (model,))

    async def _open(self, unseal: Callable[[], bytes], request: Request, models: tuple[type[A], ...]) -> A:
        try:
            data = unseal()
            answer = await self.trust.fresh(lambda trust: open_answer(data, trust, request, models))
        except (MalformedError, AuthorityError) as error:  # as good as none: ask again
            raise UnavailableError(f"the answer cannot be believed: {error}") from error
        if isinstance(answer, RefusalAnswer):
            if answer.code == ExpiredError("").code and self.clock.take_again():
                raise UnavailableError(
                    f"{answer.message}; the machine's clock was set: ask again", hint=answer.hint
                )
            raise refusal_error(answer.code, answer.message, answer.hint, retry=answer.retry)
        return answer


def _check_about(
    answer: SignatureAnswer | ConfirmationAnswer | UsedAnswer,
    request: ProbeRequest | SignRequest | SealedRequest,
) -> None:
    if (answer.key, answer.version) != (request.key, request.version):
        raise UnavailableError(
            f"the answer is by {answer.key}@{answer.version}, asked was {request.key}@{request.version}"
        )
