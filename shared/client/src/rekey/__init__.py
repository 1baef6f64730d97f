"""rekey for applications: keys that rotate without being noticed.

    async with rekey.connect(rekey.Settings.load("settings.toml")) as keys:
        box = await keys.keyring("orders-db")
        stored = box.encrypt(b"data", b"row 7")
        signer = await keys.signer("token-signer")
        token = await signer.sign_jwt({"sub": "alice"})

Versions are installed, switched to, confirmed, stopped and renewed in the background; no call of the application sees one.
"""

from __future__ import annotations

from rekey.beliefs import Stopped
from rekey.client import Keys, KeyStatus, Messages, connect
from rekey.envelope import Envelope
from rekey.errors import (
    CiphertextError,
    LeaseExpiredError,
    MacError,
    NotGrantedError,
    ProtocolTooNewError,
    ProtocolTooOldError,
    QuotaExhaustedError,
    RekeyError,
    TokenError,
    UnavailableError,
    UnknownKeyIdError,
    VersionCompromisedError,
    VersionDestroyedError,
    VersionStoppedError,
    VersionSuspendedError,
)
from rekey.events import Resumed, Rotated
from rekey.keyring import Keyring
from rekey.mac import Mac
from rekey.remote_keyring import RemoteKeyring
from rekey.remote_mac import RemoteMac
from rekey.settings import Settings
from rekey.signer import Signer

__all__ = [
    "CiphertextError",
    "Envelope",
    "KeyStatus",
    "Keyring",
    "Keys",
    "LeaseExpiredError",
    "Mac",
    "MacError",
    "Messages",
    "NotGrantedError",
    "ProtocolTooNewError",
    "ProtocolTooOldError",
    "QuotaExhaustedError",
    "RekeyError",
    "RemoteKeyring",
    "RemoteMac",
    "Resumed",
    "Rotated",
    "Settings",
    "Signer",
    "Stopped",
    "TokenError",
    "UnavailableError",
    "UnknownKeyIdError",
    "VersionCompromisedError",
    "VersionDestroyedError",
    "VersionStoppedError",
    "VersionSuspendedError",
    "connect",
]
