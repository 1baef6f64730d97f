"""Use of secrets inside the HSM: what goes there and what comes back is sealed, so that the bus sees neither."""

from __future__ import annotations

from typing import Final

from rekey.requests import Requests
from rekey_core.ciphertext import OVERHEAD_BYTES
from rekey_core.contracts import (
    MAX_AAD_BYTES,
    MAX_USE_BYTES,
    DecryptInput,
    DecryptRequest,
    EncryptInput,
    EncryptRequest,
    MacInput,
    MacRequest,
    Message,
    SealedRequest,
    VerifyInput,
    VerifyRequest,
)
from rekey_core.encoding import b64u_encode
from rekey_core.errors import SignatureError, UnavailableError, UsageRefusedError
from rekey_core.sealing import SealingKey, request_info, seal

_MAC_BYTES: Final = 48  # more than any MAC has; a longer one is none


class Sealed:
    """Each method is one try; raises as ``Requests``, and UsageRefusedError for more than one call may bring."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._seal_to: bytes | None = None  # the distributor's key, asked for when first needed

    async def encrypt(self, key: str, version: int, plaintext: bytes, aad: bytes) -> bytes:
        """A ciphertext of ``rekey_core.ciphertext``."""
        _check_sizes(key, plaintext, aad, MAX_USE_BYTES)
        given = EncryptInput(plaintext=b64u_encode(plaintext), aad=b64u_encode(aad))
        return await self._use(EncryptRequest, key, version, given)

    async def decrypt(self, key: str, version: int, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext."""
        _check_sizes(key, ciphertext, aad, MAX_USE_BYTES + OVERHEAD_BYTES)
        given = DecryptInput(ciphertext=b64u_encode(ciphertext), aad=b64u_encode(aad))
        return await self._use(DecryptRequest, key, version, given)

    async def mac(self, key: str, version: int, data: bytes) -> bytes:
        """A MAC of ``rekey_core.mac``."""
        _check_sizes(key, data, b"", MAX_USE_BYTES)
        return await self._use(MacRequest, key, version, MacInput(message=b64u_encode(data)))

    async def verify(self, key: str, version: int, data: bytes, mac: bytes) -> None:
        """Return if it is the MAC. Raises MacError when it is not."""
        _check_sizes(key, data, b"", MAX_USE_BYTES)
        given = VerifyInput(message=b64u_encode(data), mac=b64u_encode(mac[:_MAC_BYTES]))
        await self._use(VerifyRequest, key, version, given)

    async def _use(self, model: type[SealedRequest], key: str, version: int, given: Message) -> bytes:
        if self._seal_to is None:
            self._seal_to = await self._requests.sealing_key()
        common, sealing = self._requests.common(), SealingKey.generate()
        info = request_info(common["env"], common["dependent"], common["instance"], common["nonce"], model.OP)
        sealed = seal(self._seal_to, given.model_dump_json().encode(), info)
        seal_to = b64u_encode(sealing.public_bytes())
        fields = {**common, "key": key, "version": version, "seal_to": seal_to, "sealed": b64u_encode(sealed)}
        try:
            return await self._requests.used(model.model_validate(fields), sealing)
        except SignatureError as error:  # the distributor has another key now: ask for it, and again
            self._seal_to = None
            raise UnavailableError(f"distributor: {error}") from error


def _check_sizes(key: str, data: bytes, aad: bytes, most: int) -> None:
    for what, given, limit in (("data", data, most), ("associated data", aad, MAX_AAD_BYTES)):
        if len(given) > limit:
            text = f"key {key}: {what} of {len(given)} bytes, expected at most {limit} in one call"
            raise UsageRefusedError(text, hint="use envelope(): it encrypts here, whatever the size")
