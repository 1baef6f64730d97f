"""What the distributor may do with its token: open versions in it, wrap them to trusted keys, use them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.types import Object

from rekey_core.errors import HsmError, NotEnrolledError, RecordError
from rekey_core.names import Algorithm
from rekey_hsm import keys
from rekey_hsm.halves import distributor_half
from rekey_hsm.handles import HandleCache
from rekey_hsm.labels import (
    KEK_PREFIX,
    probe_label,
    require_kek,
    transport_label,
)
from rekey_hsm.probes import Probe, check_probe
from rekey_hsm.profile import HsmProfile
from rekey_hsm.selftest import prove_locks, prove_unwrap
from rekey_hsm.templates import (
    TRANSPORT_KEY,
    WRAPPED_SECRET_BYTES,
)
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token, find_one
from rekey_hsm.values import Released, TokenSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)

MAX_RECIPIENTS: Final = 1024  # transport keys kept by handle
# What modules answer when RFC 5649's integrity check fails; SoftHSM says only "general error".
_NOT_OPENED: Final = (
    p11.GeneralError,
    p11.FunctionFailed,
    p11.WrappedKeyInvalid,
    p11.WrappedKeyLenRange,
    p11.EncryptedDataInvalid,
    p11.EncryptedDataLenRange,
    p11.ArgumentsBad,
)
Unwrap = Callable[[Object, bytes, HsmProfile], Object]


class DistributorHsm:
    """The distributor's token. Each call is one hop to the HSM thread.

    All methods raise ``HsmError`` when the token cannot be used as founded (leave the process) and
    ``UnavailableError`` when a key is not there yet or the token has no room (try again).
    """

    def __init__(self, token: Token, *, max_handles: int | None = None) -> None:
        self._token = token
        self._handles = HandleCache() if max_handles is None else HandleCache(max_handles)
        self._recipients: dict[str, tuple[str, Object]] = {}
        token.on_new_handles(self._handles.clear)
        token.on_new_handles(self._recipients.clear)

    @classmethod
    async def open(cls, settings: TokenSettings, *, max_handles: int | None = None) -> DistributorHsm:
        """Log in once, read every key back against its template and prove profile and keys by doing.

        Raises:
            HsmError: not the token, module or templates that were founded, or a wrong PIN.
        """
        return await on_hsm_thread(lambda: cls(_open(settings), max_handles=max_handles))

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
    ) -> Released:
        """Open a secret inside the token, wrap it to the recipient's trusted key, compute the MACs under it.

        Raises:
            RecordError: the blob is not a 64-byte secret wrapped under that KEK.
            NotEnrolledError: the token has no trusted transport key of that recipient and hash.
        """
        require_kek(kek, Algorithm.AES_256_GCM)
        _require_secret_blob(kek, blob)

        def release() -> Released:
            transport = self._recipient(recipient, recipient_spki_sha256)
            secret = self._unwrap(kek, blob, keys.unwrap_secret)
            with keys.destroyed_after(secret):
                wrapped = keys.wrap_to(transport, secret, self._token.profile)
                macs = tuple(keys.mac(secret, data, self._token.profile) for data in mac_inputs)
            return Released(wrapped, macs)

        return await self._do("releasing a secret", release)

    async def sign(self, kek: str, blob: bytes, algorithm: Algorithm, message: bytes) -> bytes:
        """ES256 inside the token: r || s, 32 bytes each (RFC 7518 §3.4); the opened key is kept by handle.

        Raises:
            RecordError: the blob is not a P-256 private key wrapped under that KEK.
            ValueError: the algorithm is not one of signatures.
        """
        if algorithm is not Algorithm.EC_P256:
            error = f"{algorithm.value} is not an algorithm of signatures"
            raise ValueError(error)
        require_kek(kek, algorithm)

        def sign() -> bytes:
            key = self._handles.get(kek, blob, lambda: self._unwrap(kek, blob, keys.unwrap_ec))
            return keys.ecdsa(key, message, self._token.profile)

        return await self._do("signing", sign)

    async def forget(self, blob_digests: Iterable[str]) -> None:
        """Destroy the kept handles of blobs by SHA-256 (hex): nothing signs with them without opening them again."""
        digests = frozenset(bytes.fromhex(digest) for digest in blob_digests)
        await self._do("forgetting keys", lambda: self._handles.forget(digests))

    async def prove(self) -> None:
        """Readiness: the token is the founded one and every key of it works."""
        await self._do("proving the token", lambda: _prove(self._token))

    async def close(self) -> None:
        """Log the process out of the token; the opened keys are gone."""
        await on_hsm_thread(self._token.close)

    async def _do(self, doing: str, operation: Callable[[], T]) -> T:
        return await on_hsm_thread(lambda: self._token.guard(doing, operation))

    def _unwrap(self, kek: str, blob: bytes, unwrap: Unwrap) -> Object:
        """Open the blob; when that fails and the KEK still opens its probe, it is the blob that is wrong."""
        half = self._token.key(kek)
        try:
            return unwrap(half, blob, self._token.profile)
        except _NOT_OPENED as error:
            _prove_one(self._token, kek)
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


def _require_secret_blob(kek: str, blob: bytes) -> None:
    if len(blob) != WRAPPED_SECRET_BYTES:
        message = f"wrapped secret under {kek} has {len(blob)} bytes, expected {WRAPPED_SECRET_BYTES}"
        raise RecordError(message)


def _open(settings: TokenSettings) -> Token:
    token = Token.open(settings)
    with token.closed_on_error():
        token.guard("reading its keys back", lambda: _read_back(token))
        token.guard("proving the token", lambda: _prove(token))
        token.guard("proving the profile", lambda: _prove_profile(token))
    return token


def _read_back(token: Token) -> None:
    for label in token.founded():
        keys.read_back(token.key(label), distributor_half(label), label)


def _prove_profile(token: Token) -> None:
    prove_locks(token.session)
    session = token.writable()
    try:
        for label in token.labels(KEK_PREFIX):
            kek = find_one(session, {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}, label)
            if kek is None:
                message = f"token {token.name}: {label} is gone"
                raise HsmError(message)
            prove_unwrap(session, kek, label, _probe(token, label), token.profile)
    finally:
        session.close()


def _prove(token: Token) -> None:
    token.require_same()
    for label in token.founded():
        _prove_one(token, label)


def _prove_one(token: Token, label: str) -> None:
    try:
        check_probe(token.key(label), label, _probe(token, label), token.profile)
    except _NOT_OPENED as error:
        message = f"{label} on token {token.name} does not open what was wrapped for it"
        raise HsmError(message, hint="the token's keys are damaged, or not of this ceremony") from error


def _probe(token: Token, label: str) -> Probe:
    note = token.find(ObjectClass.DATA, probe_label(label))
    if note is None:
        message = f"token {token.name} has no probe of {label}"
        raise HsmError(message, hint="the HSM ceremony was not finished: run it again")
    return Probe.from_json(note[Attribute.VALUE])
