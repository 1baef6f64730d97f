"""AES-256-GCM (NIST SP 800-38D) in Tink's output format: a Tink keyset in any language reads what we write.

``0x01 ‖ key id, 4 bytes big-endian ‖ nonce, 12 bytes ‖ ciphertext ‖ tag, 16 bytes``. The associated data is
exactly the caller's; the prefix is not in it (as in Tink), so opening checks it against the key in hand.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey_core.errors import CiphertextError
from rekey_core.secret import Secret

OVERHEAD_BYTES: Final = 33  # what a ciphertext is longer than its plaintext
LARGE_BYTES: Final = 4096  # measured: below it copying a body is cheaper than a view of it

_TINK: Final = 0x01  # Tink's output prefix type TINK, also the version of the format
_PREFIX: Final = Struct(">BI")
_PREFIX_BYTES: Final = _PREFIX.size
NONCE_BYTES: Final = 12  # SP 800-38D §8.2.2: random, so at most 2^32 under one key
_NONCE_END: Final = _PREFIX_BYTES + NONCE_BYTES
PREFIX: Final = slice(_PREFIX_BYTES)  # the parts of a ciphertext, for who has many to open
NONCE: Final = slice(_PREFIX_BYTES, _NONCE_END)
SEALED: Final = slice(_NONCE_END, None)
_VERSION_SECRET_BYTES: Final = 64  # an exportable version (DESIGN §5)
_AES_KEY_BYTES: Final = 32
_MAX_KEY_ID: Final = 0xFFFF_FFFF
_PREFIXES: Final = 4096  # kept: one is needed at every call


def aead_of(version: Secret) -> AESGCM:
    """The cipher of an exportable version: bytes 0-31 of its 64. Make it once and keep it.

    Raises:
        ValueError: not 64 bytes.
    """
    if len(version) != _VERSION_SECRET_BYTES:
        raise ValueError(f"expected a secret of {_VERSION_SECRET_BYTES} bytes, found {len(version)}")
    return AESGCM(version.reveal()[:_AES_KEY_BYTES])


@lru_cache(maxsize=_PREFIXES)
def prefix_of(key_id: int) -> bytes:
    """The 5 bytes that every ciphertext under this key id starts with.

    Raises:
        ValueError: not in 1 … 2^32-1.
    """
    if not 0 < key_id <= _MAX_KEY_ID:
        raise ValueError(f"expected a key id from 1 to {_MAX_KEY_ID}, found {key_id}")
    return _PREFIX.pack(_TINK, key_id)


def parse_key_id(ciphertext: bytes) -> int:
    """Which key a ciphertext says that it is under. Nothing vouches for it until the ciphertext is opened.

    Raises:
        CiphertextError: too short, of another format, or of key id 0.
    """
    if len(ciphertext) < OVERHEAD_BYTES:
        raise CiphertextError(
            f"expected a ciphertext of at least {OVERHEAD_BYTES} bytes, found {len(ciphertext)}"
        )
    start: int
    key_id: int
    start, key_id = _PREFIX.unpack_from(ciphertext)
    if start != _TINK:
        raise CiphertextError(f"expected a ciphertext that starts with 0x01, found 0x{start:02x}")
    if key_id == 0:
        raise CiphertextError("expected a key id from 1, found 0")
    return key_id


def assemble(key_id: int, nonce: bytes, sealed: bytes) -> bytes:
    """A ciphertext from its parts: what the HSM encrypted under this nonce, tag at the end.

    Raises:
        ValueError: the key id is not in 1 … 2^32-1, or the nonce is not 12 bytes.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} bytes, found {len(nonce)}")
    return prefix_of(key_id) + nonce + sealed


def take_apart(key_id: int, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Nonce and what was encrypted under it, tag at the end.

    Raises:
        CiphertextError: not a ciphertext, or under another key id.
    """
    if (found := parse_key_id(ciphertext)) != key_id:
        raise CiphertextError(f"expected a ciphertext under key id {key_id}, found {found}")
    return ciphertext[NONCE], ciphertext[SEALED]


def encrypt(aead: AESGCM, key_id: int, plaintext: bytes, aad: bytes) -> bytes:
    """A ciphertext under a fresh random nonce.

    Raises:
        ValueError: the key id is not in 1 … 2^32-1.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return b"".join((prefix_of(key_id), nonce, aead.encrypt(nonce, plaintext, aad)))


def decrypt(aead: AESGCM, key_id: int, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of a ciphertext under this key.

    Raises:
        CiphertextError: under another key id, with other associated data, or altered.
    """
    if (found := parse_key_id(ciphertext)) != key_id:
        raise CiphertextError(f"expected a ciphertext under key id {key_id}, found {found}")
    return decrypt_parsed(aead, key_id, ciphertext, aad)


def decrypt_parsed(aead: AESGCM, key_id: int, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of a ciphertext whose ``parse_key_id`` is ``key_id``: who looked the key up by it need not ask again.

    Raises:
        CiphertextError: with other associated data, or altered.
    """
    body = ciphertext if len(ciphertext) < LARGE_BYTES else memoryview(ciphertext)
    try:
        return aead.decrypt(ciphertext[NONCE], body[SEALED], aad)
    except InvalidTag as error:
        raise CiphertextError(
            f"the ciphertext under key id {key_id} is altered or was made with other associated data",
            hint="pass exactly the associated data that it was encrypted with",
        ) from error
