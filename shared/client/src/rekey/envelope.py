"""Envelope encryption: data keys are made here, and wrapped and unwrapped inside the HSM by a key that never leaves it.

Data keys are kept for a while, so that most calls ask nobody. A data key is used only while the version of the root key that
wrapped it may be: a new one is made when the root key rotates, and what is kept of a stopped or destroyed version is
dropped.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey.errors import RefusedError
from rekey.remote import Remote
from rekey.sealed import Sealed
from rekey.versions import Version
from rekey_core import enveloped
from rekey_core.secret import Secret

DATA_KEY_CALLS: Final = 1 << 20  # encryptions under one data key; random nonces allow 2^32 (SP 800-38D §8.3)
DATA_KEY_AGE_S: Final = 300.0  # how long a data key encrypts, and how long an unwrapped one is kept
DATA_KEYS_KEPT: Final = 256  # unwrapped data keys that are kept to decrypt with


@dataclass
class _DataKey:
    aead: AESGCM
    wrapped: bytes
    version: Version
    since: float
    calls: int = 0


class Envelope:
    """A granted key that wraps data keys inside the HSM. For data of any size."""

    __slots__ = ("_aad", "_kept", "_making", "_now", "_remote", "_sealed", "_using")

    def __init__(
        self, env: str, remote: Remote, sealed: Sealed, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._aad = enveloped.wrapping_aad(env, remote.key.name)
        self._remote = remote
        self._sealed = sealed
        self._now = now
        self._making = asyncio.Lock()
        self._using: _DataKey | None = None
        self._kept: OrderedDict[bytes, _DataKey] = OrderedDict()

    @property
    def name(self) -> str:
        """The key's name."""
        return self._remote.key.name

    async def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """A ciphertext that carries its wrapped data key; ``aad`` must be the same at ``decrypt``.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that protects.
            UnavailableError: a data key was needed and not wrapped within the settings' ``total_s``.
        """
        while True:
            ciphertext = self._encrypt(data, aad)
            if ciphertext is not None:
                return ciphertext
            async with self._making:
                if self._usable(self._remote.key.view.current) is None:  # nobody made one while we waited
                    self._using = await self._remote.protect(self._make)

    async def decrypt(self, ciphertext: bytes, aad: bytes) -> bytes:
        """The data of a ciphertext of this key, made by any instance of any of its dependents.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that it is under.
            VersionDestroyedError: that version is gone.
            UnknownKeyIdError: it is not under a version of this key that is known here.
            CiphertextError: not a ciphertext, altered, or made with other ``aad``.
            UnavailableError: its data key is not kept, and was not unwrapped within the settings' ``total_s``.
        """
        found = enveloped.parse(ciphertext)
        self._remote.lease.check(self.name)
        version = self._found(found.key_id)
        kept = self._kept.get(found.wrapped)
        if kept is None or kept.version is not version or self._is_old(kept):
            kept = await self._remote.process(
                found.key_id, lambda version: self._unwrap(version, found.wrapped)
            )
            self._keep(kept)
        self._kept.move_to_end(found.wrapped)
        return enveloped.decrypt(kept.aead, found, aad)

    def _encrypt(self, data: bytes, aad: bytes) -> bytes | None:
        """Under the data key in use; nothing when a new one is needed."""
        self._remote.lease.check(self.name)
        version = self._remote.key.enter()
        try:
            data_key = self._usable(version)
            if data_key is None:
                return None
            data_key.calls += 1
            return enveloped.encrypt(data_key.aead, data_key.wrapped, data, aad)
        finally:
            version.in_flight.leave()

    def _usable(self, version: Version | None) -> _DataKey | None:
        found = self._using
        if found is None or found.version is not version or self._is_old(found):
            return None
        return found if found.calls < DATA_KEY_CALLS else None

    def _is_old(self, data_key: _DataKey) -> bool:
        return self._now() - data_key.since >= DATA_KEY_AGE_S

    async def _make(self, version: Version) -> _DataKey:
        secret = Secret(secrets.token_bytes(enveloped.DATA_KEY_BYTES))
        wrapped = await self._sealed.encrypt(self.name, version.version, secret.reveal(), self._aad)
        return _DataKey(enveloped.cipher_of(secret), wrapped, version, self._now())

    async def _unwrap(self, version: Version, wrapped: bytes) -> _DataKey:
        secret = Secret(await self._sealed.decrypt(self.name, version.version, wrapped, self._aad))
        return _DataKey(enveloped.cipher_of(secret), wrapped, version, self._now())

    def _found(self, key_id: int) -> Version:
        try:
            return self._remote.key.find(key_id)
        except RefusedError:  # stopped, destroyed
            self._forget(key_id)
            raise

    def _keep(self, data_key: _DataKey) -> None:
        self._kept[data_key.wrapped] = data_key
        if len(self._kept) > DATA_KEYS_KEPT:
            self._kept.popitem(last=False)

    def _forget(self, key_id: int) -> None:
        self._kept = OrderedDict((w, kept) for w, kept in self._kept.items() if kept.version.id != key_id)
        if self._using is not None and self._using.version.id == key_id:
            self._using = None

    def __repr__(self) -> str:
        return f"Envelope({self.name})"
