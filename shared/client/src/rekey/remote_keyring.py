"""Encrypt and decrypt inside the HSM: for small data under keys that never leave it. Larger or many: ``Envelope``."""

from __future__ import annotations

from rekey.remote import Remote
from rekey.sealed import Sealed
from rekey_core import ciphertext as tink


class RemoteKeyring:
    """A granted key that protects data inside the HSM (AES-256-GCM, Tink's ciphertext format)."""

    __slots__ = ("_remote", "_sealed")

    def __init__(self, remote: Remote, sealed: Sealed) -> None:
        self._remote = remote
        self._sealed = sealed

    @property
    def name(self) -> str:
        """The key's name."""
        return self._remote.key.name

    async def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """A ciphertext; ``aad`` is authenticated with it and must be the same at ``decrypt``. At most 16 KiB.

        Raises:
            UnavailableError: it did not work within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that protects.
            UsageRefusedError: larger than one call may bring.
        """
        name = self._remote.key.name
        return await self._remote.protect(
            lambda version: self._sealed.encrypt(name, version.version, data, aad)
        )

    async def decrypt(self, ciphertext: bytes, aad: bytes) -> bytes:
        """The data of a ciphertext of this key, made by any instance of any of its dependents.

        Raises:
            UnavailableError: it did not work within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that it is under.
            VersionDestroyedError: that version is gone.
            UnknownKeyIdError: it is not under a version of this key that is known here.
            CiphertextError: not a ciphertext, altered, or made with other ``aad``.
        """
        name = self._remote.key.name
        return await self._remote.process(
            tink.parse_key_id(ciphertext),
            lambda version: self._sealed.decrypt(name, version.version, ciphertext, aad),
        )

    def __repr__(self) -> str:
        return f"RemoteKeyring({self.name})"
