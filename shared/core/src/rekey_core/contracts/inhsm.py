"""What instances have done with versions that never leave the HSM: probes, signatures, encryption, MACs.

What is encrypted, decrypted or MACed crosses the bus sealed in both directions (HPKE): to the distributor in the request,
to a key that is fresh in the request in the answer. Messages to be signed are tokens, which their reader shows anyway.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import StringConstraints

from rekey_core.contracts.base import Base64Url, Message, Sequence, Version
from rekey_core.contracts.material import (
    Answer,
    LeaseAnswer,
    LeaseRequest,
    MaterialAnswer,
    MaterialRequest,
    RefusalAnswer,
    Request,
)
from rekey_core.contracts.receipts import HexValue
from rekey_core.names import KeyName

MAX_SIGN_MESSAGE_BYTES: Final = 16 * 1024
MAX_USE_BYTES: Final = (
    16 * 1024
)  # data of one encryption, decryption or MAC; larger data: envelope encryption
MAX_AAD_BYTES: Final = 4 * 1024
_OVERHEAD_BYTES: Final = 33  # ciphertext.OVERHEAD_BYTES: what a ciphertext is longer than its plaintext


def _base64url_of(size: int) -> StringConstraints:
    return StringConstraints(max_length=size * 4 // 3 + 4)


Data = Annotated[Base64Url, _base64url_of(MAX_USE_BYTES)]
Ciphertext = Annotated[Base64Url, _base64url_of(MAX_USE_BYTES + _OVERHEAD_BYTES)]
Aad = Annotated[Base64Url, _base64url_of(MAX_AAD_BYTES)]


class ProbeRequest(Request):
    """Prove with me that I reach this version inside the HSM (classes that never leave it).

    Answered with a signature by a key that signs, with a confirmation of any other.
    """

    OP: ClassVar[str] = "probe"
    TYPE: ClassVar[str] = "rekey.request.probe.v1"
    type: Literal["rekey.request.probe.v1"] = "rekey.request.probe.v1"
    key: KeyName
    version: Version
    phase: Literal["installed", "switched"]


class SignRequest(Request):
    """Sign this message with this version inside the HSM."""

    OP: ClassVar[str] = "sign"
    TYPE: ClassVar[str] = "rekey.request.sign.v1"
    type: Literal["rekey.request.sign.v1"] = "rekey.request.sign.v1"
    key: KeyName
    version: Version
    message: Annotated[Base64Url, _base64url_of(MAX_SIGN_MESSAGE_BYTES)]


class SealingRequest(Request):
    """To which key are requests to be sealed?"""

    OP: ClassVar[str] = "sealing"
    TYPE: ClassVar[str] = "rekey.request.sealing.v1"
    type: Literal["rekey.request.sealing.v1"] = "rekey.request.sealing.v1"


class SealedRequest(Request):
    """Use this version on what is sealed inside (one of the inputs below), and seal the answer to ``seal_to``."""

    key: KeyName
    version: Version
    seal_to: Base64Url  # HPKE public key, fresh for this request
    sealed: Base64Url  # HPKE to the distributor, bound to this request


class EncryptRequest(SealedRequest):
    """AES-256-GCM under a nonce that the distributor draws."""

    OP: ClassVar[str] = "encrypt"
    TYPE: ClassVar[str] = "rekey.request.encrypt.v1"
    type: Literal["rekey.request.encrypt.v1"] = "rekey.request.encrypt.v1"


class DecryptRequest(SealedRequest):
    """The inverse."""

    OP: ClassVar[str] = "decrypt"
    TYPE: ClassVar[str] = "rekey.request.decrypt.v1"
    type: Literal["rekey.request.decrypt.v1"] = "rekey.request.decrypt.v1"


class MacRequest(SealedRequest):
    """HMAC-SHA256 over ``confirmation.application_mac_input`` of the message."""

    OP: ClassVar[str] = "mac"
    TYPE: ClassVar[str] = "rekey.request.mac.v1"
    type: Literal["rekey.request.mac.v1"] = "rekey.request.mac.v1"


class VerifyRequest(SealedRequest):
    """Is this the MAC? A MAC that is not gets a refusal."""

    OP: ClassVar[str] = "verify"
    TYPE: ClassVar[str] = "rekey.request.verify.v1"
    type: Literal["rekey.request.verify.v1"] = "rekey.request.verify.v1"


class EncryptInput(Message):
    """Sealed inside an EncryptRequest."""

    TYPE: ClassVar[str] = "rekey.input.encrypt.v1"
    type: Literal["rekey.input.encrypt.v1"] = "rekey.input.encrypt.v1"
    plaintext: Data
    aad: Aad


class DecryptInput(Message):
    """Sealed inside a DecryptRequest."""

    TYPE: ClassVar[str] = "rekey.input.decrypt.v1"
    type: Literal["rekey.input.decrypt.v1"] = "rekey.input.decrypt.v1"
    ciphertext: Ciphertext  # as ``rekey_core.ciphertext`` writes it
    aad: Aad


class MacInput(Message):
    """Sealed inside a MacRequest."""

    TYPE: ClassVar[str] = "rekey.input.mac.v1"
    type: Literal["rekey.input.mac.v1"] = "rekey.input.mac.v1"
    message: Data


class VerifyInput(Message):
    """Sealed inside a VerifyRequest."""

    TYPE: ClassVar[str] = "rekey.input.verify.v1"
    type: Literal["rekey.input.verify.v1"] = "rekey.input.verify.v1"
    message: Data
    mac: Annotated[Base64Url, StringConstraints(max_length=64)]  # as ``rekey_core.mac`` writes it


class SignatureAnswer(Answer):
    """A signature made inside the HSM: ECDSA as r‖s, RSASSA-PSS as RFC 8017 §8.1.1 writes it."""

    TYPE: ClassVar[str] = "rekey.answer.signature.v1"
    type: Literal["rekey.answer.signature.v1"] = "rekey.answer.signature.v1"
    key: KeyName
    version: Version
    as_of: Sequence
    signature: Base64Url


class ConfirmationAnswer(Answer):
    """The confirmation value of one phase, computed inside the HSM; its SHA-256 stands in ``delivered``."""

    TYPE: ClassVar[str] = "rekey.answer.confirmation.v1"
    type: Literal["rekey.answer.confirmation.v1"] = "rekey.answer.confirmation.v1"
    key: KeyName
    version: Version
    as_of: Sequence
    delivery: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    value: HexValue


class SealingAnswer(Answer):
    """The HPKE public key of the distributor."""

    TYPE: ClassVar[str] = "rekey.answer.sealing.v1"
    type: Literal["rekey.answer.sealing.v1"] = "rekey.answer.sealing.v1"
    seal_to: Base64Url


class UsedAnswer(Answer):
    """Ciphertext, plaintext or MAC; empty for a MAC that verifies. Always sealed."""

    TYPE: ClassVar[str] = "rekey.answer.used.v1"
    type: Literal["rekey.answer.used.v1"] = "rekey.answer.used.v1"
    key: KeyName
    version: Version
    as_of: Sequence
    output: Ciphertext


REQUESTS: Final[tuple[type[Request], ...]] = (
    MaterialRequest,
    LeaseRequest,
    ProbeRequest,
    SignRequest,
    SealingRequest,
    EncryptRequest,
    DecryptRequest,
    MacRequest,
    VerifyRequest,
)
OPS: Final = tuple(request.OP for request in REQUESTS)
ANSWERS: Final[tuple[type[Answer], ...]] = (
    MaterialAnswer,
    LeaseAnswer,
    SignatureAnswer,
    ConfirmationAnswer,
    SealingAnswer,
    UsedAnswer,
    RefusalAnswer,
)
