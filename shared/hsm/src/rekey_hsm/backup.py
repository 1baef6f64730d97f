"""What people may do with the offline token: prove each backup, and wrap it under another KEK for a restore.

Its KEK halves are the other ones of the generator's backup KEKs. For a restore a ceremony gives it the *wrapping* half of
an epoch whose unwrapping half is on a fresh distributor's token: blobs go from one KEK to the other inside this token.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.types import Object

from rekey_core.confirmation import (
    VersionContext,
    commitment_input,
    secret_commitment,
    spki_commitment,
)
from rekey_core.errors import RecordError, SignatureError, UnavailableError
from rekey_core.names import Algorithm
from rekey_core.signatures import verify_signature
from rekey_hsm import keys
from rekey_hsm.halves import distributor_half, generator_half
from rekey_hsm.kinds import BACKUP_PREFIX, KEK_PREFIX, Kind, kind_for, require_backup, require_kek
from rekey_hsm.labels import MAC_PREFIX
from rekey_hsm.proving import NOT_OPENED, prove_key, prove_opening
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token
from rekey_hsm.values import TokenSettings

T = TypeVar("T")


class BackupHsm:
    """The offline token. All methods raise ``HsmError`` when it cannot be used as founded."""

    def __init__(self, token: Token) -> None:
        self._token = token

    @classmethod
    async def open(cls, settings: TokenSettings) -> BackupHsm:
        """Log in once, read every key back against its template and prove profile and keys by doing.

        Raises:
            HsmError: not the token, module or templates that were founded, or a wrong PIN.
        """
        return await on_hsm_thread(lambda: cls(_open(settings)))

    async def moved(
        self,
        backup: str,
        blob: bytes,
        context: VersionContext,
        commitment: str,
        *,
        spki: bytes | None = None,
        kek: str | None = None,
    ) -> bytes | None:
        """Open a backup, prove that it is the version, and wrap it under a KEK if one is named.

        Args:
            backup: label of the backup KEK that the log names.
            blob: what lies in MATERIAL.
            context: of the version, as it was generated.
            commitment: what ``generated`` says.
            spki: DER SubjectPublicKeyInfo of an asymmetric version.
            kek: label of the KEK to wrap it under; none: prove it only.

        Raises:
            RecordError: it does not open under that backup KEK, or is another key.
            ValueError: a KEK is for other keys.
        """
        kind = require_backup(backup, kind_for(context.release, context.algorithm))
        if kek is not None:
            require_kek(kek, context.algorithm, context.release)

        def move() -> bytes | None:
            target = None if kek is None else self._token.key(kek)
            key = self._opened(backup, blob, kind)
            with keys.destroyed_after(key):
                if not self._is_version(key, kind, context, commitment, spki):
                    message = f"{context.key}@{context.version}: the backup is not of the committed key"
                    raise RecordError(message)
                return None if target is None else keys.wrap(target, key, self._token.profile)

        return await self._do("opening a backup", move)

    async def record_mac(self, mac_key: str, data: bytes) -> bytes:
        """HMAC-SHA256 over a restored record."""
        return await self._do(
            "signing a record", lambda: keys.mac(self._token.key(mac_key), data, self._token.profile)
        )

    async def close(self) -> None:
        """Log the process out of the token."""
        await on_hsm_thread(self._token.close)

    async def _do(self, doing: str, operation: Callable[[], T]) -> T:
        return await on_hsm_thread(lambda: self._token.guard(doing, operation))

    def _opened(self, backup: str, blob: bytes, kind: Kind) -> Object:
        try:
            half = self._token.key(backup)
        except UnavailableError as error:
            message = f"the backup token has no key {backup}: it is retired"
            raise RecordError(
                message, hint="found it again from its own backup, or back the version up anew"
            ) from error
        try:
            return keys.unwrap(half, blob, kind, self._token.profile)
        except NOT_OPENED as error:
            prove_key(self._token, backup)
            message = f"the backup does not open under {backup}"
            raise RecordError(message) from error

    def _is_version(
        self, key: Object, kind: Kind, context: VersionContext, commitment: str, spki: bytes | None
    ) -> bool:
        profile = self._token.profile
        if not kind.is_private:
            value = keys.prove(key, kind, commitment_input(context), profile)
            return hmac.compare_digest(secret_commitment(context, value), commitment)
        if spki is None or spki_commitment(spki) != commitment or not keys.is_of(key, context.algorithm):
            return False
        message = secrets.token_bytes(32)
        return _verifies(
            spki, context.algorithm, message, keys.sign(key, context.algorithm, message, profile)
        )


def _verifies(spki: bytes, algorithm: Algorithm, message: bytes, signature: bytes) -> bool:
    public = load_der_public_key(spki)
    if not isinstance(public, EllipticCurvePublicKey | RSAPublicKey):
        return False
    try:
        verify_signature(algorithm, public, message, signature)
    except SignatureError:
        return False
    return True


def _open(settings: TokenSettings) -> Token:
    token = Token.open(settings)
    with token.closed_on_error():
        token.guard("reading its keys back", lambda: _read_back(token))
        token.guard("proving the token", lambda: _prove(token))
        token.guard("proving the profile", lambda: prove_opening(token, token.labels(BACKUP_PREFIX)))
    return token


def _read_back(token: Token) -> None:
    for label in token.labels(BACKUP_PREFIX):
        keys.read_back(token.key(label), distributor_half(label), label)
    for label in (*token.labels(KEK_PREFIX), *token.labels(MAC_PREFIX)):
        keys.read_back(token.key(label), generator_half(label), label)


def _prove(token: Token) -> None:
    token.require_same()
    for label in token.labels(BACKUP_PREFIX):
        prove_key(token, label)
