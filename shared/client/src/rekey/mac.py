"""MACs, here and now: no call leaves the process, and none names a version."""

from __future__ import annotations

from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.versions import MacVersion
from rekey_core import mac as tink


class Mac:
    """A granted key that authenticates data (HMAC-SHA256, Tink's format). Safe from any thread."""

    __slots__ = ("_key", "_lease")

    def __init__(self, key: KeyState, lease: LeaseClock) -> None:
        self._key = key
        self._lease = lease

    @property
    def name(self) -> str:
        """The key's name."""
        return self._key.name

    def compute(self, data: bytes) -> bytes:
        """The MAC of the data, 37 bytes; the first 5 say which version made it.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that protects.
        """
        self._lease.check(self._key.name)
        version = self._key.enter()
        try:
            held = _mac_version(version)
            return tink.compute(held.key, held.id, data)
        finally:
            version.in_flight.leave()

    def verify(self, mac: bytes, data: bytes) -> None:
        """Return if it is the MAC of the data by any instance of any dependent of this key; constant time.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that it is by.
            VersionDestroyedError: that version is gone.
            UnknownKeyIdError: it is not by a version of this key that is held here.
            MacError: not a MAC, altered, or over other data.
        """
        self._lease.check(self._key.name)
        key_id, _ = tink.parse_mac(mac)
        held = _mac_version(self._key.find(key_id))
        tink.verify(held.key, held.id, mac, data)

    def __repr__(self) -> str:
        return f"Mac({self._key.name})"


def _mac_version(version: object) -> MacVersion:
    if not isinstance(version, MacVersion):
        raise TypeError("mac() gives out keys for MACs only")
    return version
