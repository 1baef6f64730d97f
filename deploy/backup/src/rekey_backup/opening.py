"""Old data, opened in a drill: what was envelope-encrypted under a root key whose version has just come back.

The root key never leaves the fresh token, which opens the data key in front of the data and checks its tag; the data key is
let go at once. Data under keys that are given to dependents is opened by them: a drill takes no key out of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rekey_backup.catalogue import Kept
from rekey_core import ciphertext as tink
from rekey_core import enveloped
from rekey_core.errors import CiphertextError, RecordError
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret
from rekey_hsm import DistributorHsm


@dataclass(frozen=True)
class Document:
    """An old ciphertext of the SDK's envelope encryption, and the root key that it is under."""

    key: str
    ciphertext: bytes


def version_of(document: Document, kept: Sequence[Kept]) -> Kept:
    """The version that the document is under.

    Raises:
        RecordError: it is no such ciphertext, or under no version that came back.
    """
    try:
        key_id = enveloped.parse(document.ciphertext).key_id
    except CiphertextError as error:
        message = f"{document.key}: the old ciphertext: {error}"
        raise RecordError(message) from error
    for item in kept:
        made = item.made
        is_root = (made.release, made.algorithm) == (Release.NEVER, Algorithm.AES_256_GCM)
        if is_root and (made.key, made.key_id) == (document.key, key_id):
            return item
    message = (
        f"{document.key}: the old ciphertext is under key id {key_id}, which no version has that came back"
    )
    raise RecordError(message)


async def opened(document: Document, item: Kept, distributor: DistributorHsm, kek: str, blob: bytes) -> None:
    """Return if the fresh token opens the data key of the document.

    Raises:
        RecordError: it does not.
    """
    wrapped = enveloped.parse(document.ciphertext).wrapped
    try:
        nonce, sealed = tink.take_apart(item.made.key_id, wrapped)
        aad = enveloped.wrapping_aad(item.made.env, item.made.key)
        enveloped.cipher_of(Secret(await distributor.decrypt(kek, blob, nonce, sealed, aad)))
    except CiphertextError as error:
        message = f"{item.name}: the old ciphertext does not open: {error}"
        raise RecordError(message) from error
