"""What the distributor may do with its token: open versions in it, wrap them to trusted keys, use them."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.types import Object

from rekey_core.errors import CiphertextError, MacError, NotEnrolledError, RecordError
from rekey_core.names import Algorithm, Release
from rekey_hsm import keys
from rekey_hsm.handles import HandleCache
from rekey_hsm.kinds import Kind, require_kek
from rekey_hsm.labels import transport_label
from rekey_hsm.proving import NOT_OPENED, open_proved, prove_key, prove_keys
from rekey_hsm.templates import TRANSPORT_KEY
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token, find_one
from rekey_hsm.transport import TransportKeys
from rekey_hsm.values import Released, TokenSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)

MAX_RECIPIENTS: Final = 1024  # transport keys kept by handle
_GCM_NONCE_BYTES: Final = 12


class DistributorHsm:
    """The distributor's token. Each call is one hop to the HSM thread.

    All methods raise ``HsmError`` when the token cannot be used as founded (leave the process) and
    ``UnavailableError`` when a key is not there yet or the token has no room (try again).
    """

    def __init__(self, token: Token, *, max_handles: int | None = None) -> None:
        self._token = token
        self._handles = HandleCache() if max_handles is None else HandleCache(max_handles)
        self._recipients: dict[str, tuple[str, Object]] = {}
        self._transport_keys = TransportKeys()
        token.on_new_handles(self._handles.clear)
        token.on_new_handles(self._transport_keys.clear)
        token.on_new_handles(self._recipients.clear)

    @classmethod
    async def open(cls, settings: TokenSettings, *, max_handles: int | None = None) -> DistributorHsm:
        """Log in once, read every key back against its template and prove profile and keys by doing.

        Raises:
            HsmError: not the token, module or templates that were founded, or a wrong PIN.
        """
        return await on_hsm_thread(lambda: cls(open_proved(settings), max_handles=max_handles))

    async def verify_record_mac(self, mac_key: str, data: bytes, mac: bytes) -> None:
        """Check the generator's MAC over a record.

        Raises:
            RecordError: the generator did not make it.
        """

        def verify() -> bool:
            return keys.verify_mac(self._token.key(mac_key), data, mac, self._token.profile)

        if not await self._do("checking a record", verify):
            message = f"record mac under {mac_key} does not verify"
            raise RecordError(message)

    async def release_secret(
        self,
        kek: str,
        blob: bytes,
        *,
        recipient: str,
        recipient_spki_sha256: str,
        mac_inputs: Sequence[bytes],
        algorithm: Algorithm = Algorithm.AES_256_GCM,
    ) -> Released:
        """Open a secret inside the token, wrap it to the recipient's trusted key, compute the MACs under it.

        Raises:
            RecordError: the blob is not a 64-byte secret wrapped under that KEK.
            NotEnrolledError: the token has no trusted transport key of that recipient and hash.
            ValueError: the KEK is not for secrets of this algorithm that go to trusted recipients.
        """
        kind = require_kek(kek, algorithm, Release.TRUSTED_RECIPIENT)
        _require_length(kek, kind, blob)

        def release() -> Released:
            trusted = self._recipient(recipient, recipient_spki_sha256)
            secret = self._unwrap(kek, blob, kind)
            with keys.destroyed_after(secret):
                wrapped = keys.wrap_to(trusted, secret, self._token.profile)
                return Released(wrapped, self._macs(secret, mac_inputs))

        return await self._do("releasing a secret", release)

    async def release_under_transport_key(
        self,
        kek: str,
        blob: bytes,
        *,
        recipient: str,
        recipient_spki_sha256: str,
        mac_inputs: Sequence[bytes],
        algorithm: Algorithm,
        at: datetime,
    ) -> Released:
        """Open a secret inside the token, wrap it under the recipient's AES transport key, compute the MACs under it.

        The opened secret is kept by handle: such versions go to many instances. ``at``: the time, by which transport keys
        end; whoever calls has one clock that all replicas share.

        Raises as ``release_secret``.
        """
        kind = require_kek(kek, algorithm, Release.TRANSPORT_KEY)
        _require_length(kek, kind, blob)

        def release() -> Released:
            trusted = self._recipient(recipient, recipient_spki_sha256)
            name = (recipient, recipient_spki_sha256)
            transport = self._transport_keys.of(name, at, lambda: self._new_transport_key(trusted))
            secret = self._opened(kek, blob, kind)
            wrapped = keys.wrap(transport.handle, secret, self._token.profile)
            return Released(wrapped, self._macs(secret, mac_inputs), transport.wrapped)

        return await self._do("releasing a secret", release)

    async def sign(self, kek: str, blob: bytes, algorithm: Algorithm, message: bytes) -> bytes:
        """A signature inside the token by the scheme of the algorithm; the opened key is kept by handle.

        Raises:
            RecordError: the blob is not a private key of this algorithm wrapped under that KEK.
            ValueError: the KEK is not for private keys of this algorithm.
        """
        kind = require_kek(kek, algorithm, Release.NEVER)
        if not kind.is_private:
            error = f"{algorithm.value} is not an algorithm of signatures"
            raise ValueError(error)

        def sign() -> bytes:
            key = self._opened(kek, blob, kind)
            if not keys.is_of(key, algorithm):
                text = f"wrapped key under {kek} is not of {algorithm.value}"
                raise RecordError(text)
            return keys.sign(key, algorithm, message, self._token.profile)

        return await self._do("signing", sign)

    async def macs(
        self, kek: str, blob: bytes, algorithm: Algorithm, inputs: Sequence[bytes]
    ) -> tuple[bytes, ...]:
        """MACs inside the token under a secret that never leaves it: CMAC by an AES key, else HMAC-SHA256.

        Raises:
            RecordError: the blob is not such a secret wrapped under that KEK.
            ValueError: the KEK is not for secrets of this algorithm that never leave.
        """
        kind = require_kek(kek, algorithm, Release.NEVER)
        if kind.is_private:
            error = f"{algorithm.value} is not an algorithm of secrets"
            raise ValueError(error)
        _require_length(kek, kind, blob)

        def compute() -> tuple[bytes, ...]:
            key = self._opened(kek, blob, kind)
            return tuple(keys.prove(key, kind, data, self._token.profile) for data in inputs)

        return await self._do("computing a mac", compute)

    async def verify_mac(self, kek: str, blob: bytes, data: bytes, mac: bytes) -> None:
        """Check an HMAC-SHA256 inside the token.

        Raises:
            MacError: it is not the MAC of the data.
            RecordError, ValueError: as ``macs``.
        """
        kind = require_kek(kek, Algorithm.HMAC_SHA_256, Release.NEVER)
        _require_length(kek, kind, blob)

        def verify() -> bool:
            return keys.verify_mac(self._opened(kek, blob, kind), data, mac, self._token.profile)

        if not await self._do("verifying a mac", verify):
            message = "the MAC is altered or was made over other data"
            raise MacError(message)

    async def encrypt(self, kek: str, blob: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """AES-256-GCM inside the token; the tag is the last 16 bytes. The nonce must be new under this key.

        Raises:
            RecordError: the blob is not an AES key wrapped under that KEK.
            ValueError: the KEK is not for AES keys that never leave.
        """
        kind = require_kek(kek, Algorithm.AES_256_GCM, Release.NEVER)
        _require_length(kek, kind, blob)

        def encrypt() -> bytes:
            key = self._opened(kek, blob, kind)
            return keys.encrypt(key, nonce, plaintext, aad, self._token.profile)

        return await self._do("encrypting", encrypt)

    async def decrypt(self, kek: str, blob: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """The inverse.

        Raises:
            CiphertextError: altered, of another key, or made with other associated data.
            RecordError, ValueError: as ``encrypt``.
        """
        kind = require_kek(kek, Algorithm.AES_256_GCM, Release.NEVER)
        _require_length(kek, kind, blob)

        def decrypt() -> bytes:
            key = self._opened(kek, blob, kind)
            try:
                return keys.decrypt(key, nonce, sealed, aad, self._token.profile)
            except NOT_OPENED as error:
                self._prove_decrypts(key)
                message = "the ciphertext is altered or was made with other associated data"
                raise CiphertextError(message) from error

        return await self._do("decrypting", decrypt)

    def _prove_decrypts(self, key: Object) -> None:
        """What does not open is wrong if the key opens what it makes: else the token is, and its error goes on."""
        nonce, profile = secrets.token_bytes(_GCM_NONCE_BYTES), self._token.profile
        keys.decrypt(key, nonce, keys.encrypt(key, nonce, b"proof", b"", profile), b"", profile)

    def _opened(self, kek: str, blob: bytes, kind: Kind) -> Object:
        return self._handles.get(kek, blob, lambda: self._unwrap(kek, blob, kind))

    async def forget(self, blob_digests: Iterable[str]) -> None:
        """Destroy the kept handles of blobs by SHA-256 (hex): nothing signs with them without opening them again."""
        digests = frozenset(bytes.fromhex(digest) for digest in blob_digests)
        await self._do("forgetting keys", lambda: self._handles.forget(digests))

    @property
    def is_software(self) -> bool:
        """Whether the keys lie in files that whoever can read them can use: a stand-in for an HSM."""
        return self._token.profile.is_software

    async def prove(self) -> None:
        """Readiness: the token is the founded one and every key of it works."""
        await self._do("proving the token", lambda: prove_keys(self._token))

    async def close(self) -> None:
        """Log the process out of the token; the opened keys are gone."""
        await on_hsm_thread(self._token.close)

    async def _do(self, doing: str, operation: Callable[[], T]) -> T:
        return await on_hsm_thread(lambda: self._token.guard(doing, operation))

    def _macs(self, secret: Object, inputs: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(keys.mac(secret, data, self._token.profile) for data in inputs)

    def _new_transport_key(self, trusted: Object) -> tuple[Object, bytes]:
        key = keys.new_transport_key(self._token.session)
        return key, keys.wrap_to(trusted, key, self._token.profile)

    def _unwrap(self, kek: str, blob: bytes, kind: Kind) -> Object:
        """Open the blob; when that fails and the KEK still opens its probe, it is the blob that is wrong."""
        half = self._token.key(kek)
        try:
            return keys.unwrap(half, blob, kind, self._token.profile)
        except NOT_OPENED as error:
            prove_key(self._token, kek)
            message = f"wrapped key does not open under {kek}"
            raise RecordError(message) from error

    def _recipient(self, recipient: str, spki_sha256: str) -> Object:
        found = self._recipients.get(recipient)
        if found is None or found[0] != spki_sha256:
            found = self._look_up(recipient)
        if found is None or found[0] != spki_sha256:
            self._recipients.pop(recipient, None)
            held = "none" if found is None else found[0]
            message = f"trusted transport key of {recipient}: expected sha-256 {spki_sha256}, found {held}"
            raise NotEnrolledError(message, hint="enrol the dependent's transport key")
        self._recipients[recipient] = found
        return found[1]

    def _look_up(self, recipient: str) -> tuple[str, Object] | None:
        """The trusted key of that name on the token; one that nobody trusted does not count."""
        label = transport_label(recipient)
        wanted = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.LABEL: label,
            Attribute.TRUSTED: True,
        }
        key = find_one(self._token.session, wanted, label)
        if key is None:
            return None
        keys.read_back(key, TRANSPORT_KEY, label)
        if len(self._recipients) >= MAX_RECIPIENTS:
            self._recipients.clear()
        return hashlib.sha256(keys.rsa_spki(key)).hexdigest(), key


def _require_length(kek: str, kind: Kind, blob: bytes) -> None:
    if len(blob) != kind.wrapped_bytes:
        message = f"wrapped secret under {kek} has {len(blob)} bytes, expected {kind.wrapped_bytes}"
        raise RecordError(message)
