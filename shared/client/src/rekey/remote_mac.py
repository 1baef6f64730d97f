"""MACs made and verified inside the HSM, under keys that never leave it."""

from __future__ import annotations

from rekey.remote import Remote
from rekey.sealed import Sealed
from rekey_core import mac as tink


class RemoteMac:
    """A granted key that authenticates data inside the HSM (HMAC-SHA256, domain-separated: only the HSM can verify)."""

    __slots__ = ("_remote", "_sealed")

    def __init__(self, remote: Remote, sealed: Sealed) -> None:
        self._remote = remote
        self._sealed = sealed

    @property
    def name(self) -> str:
        """The key's name."""
        return self._remote.key.name

    async def compute(self, data: bytes) -> bytes:
        """The MAC of the data (at most 16 KiB), 37 bytes; the first 5 say which version made it.

        Raises:
            UnavailableError: it did not work within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that protects.
            UsageRefusedError: larger than one call may bring.
        """
        name = self._remote.key.name
        return await self._remote.protect(lambda version: self._sealed.mac(name, version.version, data))

    async def verify(self, mac: bytes, data: bytes) -> None:
        """Return if it is the MAC of the data.

        Raises:
            UnavailableError: it did not work within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that it is by.
            VersionDestroyedError: that version is gone.
            UnknownKeyIdError: it is not by a version of this key that is known here.
            MacError: not a MAC, altered, or over other data.
        """
        name = self._remote.key.name
        key_id, _ = tink.parse_mac(mac)
        await self._remote.process(
            key_id, lambda version: self._sealed.verify(name, version.version, data, mac)
        )

    def __repr__(self) -> str:
        return f"RemoteMac({self.name})"
