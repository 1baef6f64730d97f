"""Which version an old document is under: the one whose key id it names, if that one came back and is a root key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rekey_backup.catalogue import Kept
from rekey_backup.opening import Document, version_of
from rekey_core import ciphertext, enveloped
from rekey_core.contracts import Generated
from rekey_core.errors import RecordError
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret
from tests.unit.facts import world

KEY_ID = 1001


def kept(**changes: object) -> Kept:
    """Version 1 of a root key."""
    state = world(versions=1).state()
    made = state.versions[1].generated
    assert made is not None
    said = {"release": Release.NEVER, "algorithm": Algorithm.AES_256_GCM, "key_id": KEY_ID}
    return Kept(Generated.model_validate(made.model.model_dump() | said | changes), 1, 1, b"wrapped")


def document(key: str = "orders-db", key_id: int = KEY_ID) -> Document:
    wrapped = ciphertext.assemble(key_id, bytes(12), bytes(32 + 16))
    return Document(key, enveloped.encrypt(enveloped.cipher_of(Secret(bytes(32))), wrapped, b"data", b"aad"))


def test_the_version_is_found_by_the_key_id_in_the_document() -> None:
    other = kept(key_id=7)
    assert version_of(document(), [other, kept()]).made.key_id == KEY_ID


@pytest.mark.parametrize(
    ("found", "came_back", "words"),
    [
        pytest.param(document(), [], "no version has that came back", id="nothing came back"),
        pytest.param(document(key_id=7), [kept()], "under key id 7", id="a version that did not"),
        pytest.param(document(key="billing-root"), [kept()], "billing-root: ", id="another key's"),
        pytest.param(
            document(),
            [kept(release=Release.TRUSTED_RECIPIENT)],
            "no version has",
            id="a key that is given away",
        ),
        pytest.param(replace(document(), ciphertext=b""), [kept()], "0x02", id="nothing at all"),
        pytest.param(replace(document(), ciphertext=b"\x02\x00"), [kept()], "wrapped key", id="cut short"),
    ],
)
def test_a_document_that_is_under_none_of_them_is_named(
    found: Document, came_back: list[Kept], words: str
) -> None:
    with pytest.raises(RecordError, match=words):
        version_of(found, came_back)
