"""Envelope encryption: data under a data key that lies in front of it, wrapped by a key that never leaves the HSM.

``0x02 ‖ length of the wrapped key, 2 bytes big-endian ‖ wrapped key ‖ nonce, 12 bytes ‖ ciphertext ‖ tag, 16 bytes``. The
wrapped key is a ciphertext of ``rekey_core.ciphertext``, so its key id says which version of the root key it is under; its
associated data is ``wrapping_aad``. The data is under AES-256-GCM with the associated data ``data_aad``, which binds
everything in front of the nonce. 0x02 is none of Tink's prefixes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey_core.ciphertext import NONCE_BYTES, OVERHEAD_BYTES, parse_key_id
from rekey_core.encoding import lp
from rekey_core.errors import CiphertextError
from rekey_core.secret import Secret

DATA_KEY_BYTES: Final = 32  # AES-256
WRAPPED_KEY_BYTES: Final = DATA_KEY_BYTES + OVERHEAD_BYTES

_FORMAT: Final = b"\x02"
_HEADER_BYTES: Final = 3
_TAG_BYTES: Final = 16
_LABEL: Final = "rekey-envelope@v1"


@dataclass(frozen=True)
class Enveloped:
    """A ciphertext taken apart; nothing vouches for it before it is opened."""

    key_id: int  # of the root key's version
    wrapped: bytes
    header: bytes
    nonce: bytes
    sealed: bytes


def wrapping_aad(env: str, key: str) -> bytes:
    """What a wrapped data key is bound to: environment and name of the root key."""
    return lp(_LABEL, "data-key", env, key)


def data_aad(header: bytes, aad: bytes) -> bytes:
    """What the data is bound to: format and wrapped key in front of it, and the caller's associated data."""
    return lp(_LABEL, "data", header, aad)


def cipher_of(data_key: Secret) -> AESGCM:
    """The cipher of a data key.

    Raises:
        CiphertextError: not 32 bytes: what was wrapped is no data key.
    """
    if len(data_key) != DATA_KEY_BYTES:
        raise CiphertextError(f"expected a data key of {DATA_KEY_BYTES} bytes, found {len(data_key)}")
    return AESGCM(data_key.reveal())


def encrypt(aead: AESGCM, wrapped: bytes, data: bytes, aad: bytes) -> bytes:
    """A ciphertext under a fresh random nonce."""
    header = _FORMAT + len(wrapped).to_bytes(2, "big") + wrapped
    nonce = secrets.token_bytes(NONCE_BYTES)
    return header + nonce + aead.encrypt(nonce, data, data_aad(header, aad))


def parse(ciphertext: bytes) -> Enveloped:
    """Take a ciphertext apart.

    Raises:
        CiphertextError: of another format, or too short.
    """
    if ciphertext[:1] != _FORMAT:
        raise CiphertextError(f"expected a ciphertext that starts with 0x02, found 0x{ciphertext[:1].hex()}")
    length = int.from_bytes(ciphertext[1:_HEADER_BYTES], "big")
    end = _HEADER_BYTES + WRAPPED_KEY_BYTES
    if length != WRAPPED_KEY_BYTES or len(ciphertext) < end + NONCE_BYTES + _TAG_BYTES:
        raise CiphertextError(
            f"expected a wrapped key of {WRAPPED_KEY_BYTES} bytes and data, found {length} in {len(ciphertext)}"
        )
    wrapped = ciphertext[_HEADER_BYTES:end]
    nonce, sealed = ciphertext[end : end + NONCE_BYTES], ciphertext[end + NONCE_BYTES :]
    return Enveloped(parse_key_id(wrapped), wrapped, ciphertext[:end], nonce, sealed)


def decrypt(aead: AESGCM, found: Enveloped, aad: bytes) -> bytes:
    """The data.

    Raises:
        CiphertextError: altered, or made with other associated data.
    """
    try:
        return aead.decrypt(found.nonce, found.sealed, data_aad(found.header, aad))
    except InvalidTag as error:
        raise CiphertextError(
            "the ciphertext is altered or was made with other associated data",
            hint="pass exactly the associated data that it was encrypted with",
        ) from error
