"""HMAC-SHA256 (FIPS 198-1) in Tink's output format: the key id in front says which version made it, so none is tried.

``0x01 ‖ key id, 4 bytes big-endian ‖ tag, 32 bytes``. The tag of an exportable version is over exactly the data, as in
Tink; that of a version that never leaves the HSM is over ``confirmation.application_mac_input`` of it.
"""

from __future__ import annotations

import hmac
from typing import Final

from rekey_core.ciphertext import prefix_of
from rekey_core.errors import MacError
from rekey_core.secret import Secret

TAG_BYTES: Final = 32
MAC_BYTES: Final = 37  # prefix and tag

_KEY_BYTES: Final = 32  # of an exportable version: bytes 0-31 of its 64 (DESIGN §5)
_VERSION_SECRET_BYTES: Final = 64
_TINK: Final = 0x01


def mac_key_of(version: Secret) -> Secret:
    """The application's key of an exportable version: bytes 0-31 of its 64.

    Raises:
        ValueError: not 64 bytes.
    """
    if len(version) != _VERSION_SECRET_BYTES:
        raise ValueError(f"expected a secret of {_VERSION_SECRET_BYTES} bytes, found {len(version)}")
    return Secret(version.reveal()[:_KEY_BYTES])


def parse_mac(mac: bytes) -> tuple[int, bytes]:
    """Key id and tag. Nothing vouches for either before the tag is verified.

    Raises:
        MacError: of another length or format, or of key id 0.
    """
    if len(mac) != MAC_BYTES or mac[0] != _TINK:
        raise MacError(f"expected a MAC of {MAC_BYTES} bytes that starts with 0x01, found {len(mac)} bytes")
    key_id = int.from_bytes(mac[1:5], "big")
    if key_id == 0:
        raise MacError("expected a key id from 1, found 0")
    return key_id, mac[5:]


def tagged(key_id: int, tag: bytes) -> bytes:
    """A MAC from its parts.

    Raises:
        ValueError: the key id is not in 1 … 2^32-1, or the tag is not 32 bytes.
    """
    if len(tag) != TAG_BYTES:
        raise ValueError(f"expected a tag of {TAG_BYTES} bytes, found {len(tag)}")
    return prefix_of(key_id) + tag


def compute(key: Secret, key_id: int, data: bytes) -> bytes:
    """The MAC of the data.

    Raises:
        ValueError: the key id is not in 1 … 2^32-1.
    """
    return tagged(key_id, hmac.digest(key.reveal(), data, "sha256"))


def verify(key: Secret, key_id: int, mac: bytes, data: bytes) -> None:
    """Return if it is the MAC of the data under this key; constant time.

    Raises:
        MacError: it is not.
    """
    found, tag = parse_mac(mac)
    if found != key_id or not hmac.compare_digest(tag, hmac.digest(key.reveal(), data, "sha256")):
        raise MacError(f"the MAC under key id {found} is altered or was made over other data")
