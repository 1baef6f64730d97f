"""With which key a service signs: one that the trust document names, and the new one only when everybody knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.encoding import b64u_encode
from rekey_core.errors import ConfigurationError
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust
from rekey_runtime.identity import in_order, read_signing_keys
from tests.unit.world import World

WORLD = World()
OLD, NEW, OTHER = (SigningKey.generate() for _ in range(3))
SETTLE_S = 3.0


def naming(*keys: SigningKey) -> Trust:
    """A trust document in which the generator has these keys."""
    services = {
        **WORLD.document().services,
        Service.GENERATOR: tuple(b64u_encode(k.public_raw) for k in keys),
    }
    return WORLD.trust.extended(WORLD.next_trust("oliver", "olga", services=services))


@pytest.mark.parametrize(
    ("held", "named", "named_for_s", "signs"),
    [
        pytest.param((OLD,), (OLD,), {OLD: 0.0}, OLD, id="one key, from its first moment on"),
        pytest.param((OLD, NEW), (OLD,), {OLD: 99.0}, OLD, id="the new one is not named yet: never before"),
        pytest.param((OLD, NEW), (OLD, NEW), {OLD: 99.0, NEW: 0.0}, OLD, id="named a moment ago"),
        pytest.param((OLD, NEW), (OLD, NEW), {OLD: 99.0, NEW: 2.9}, OLD, id="not everybody knows it yet"),
        pytest.param((OLD, NEW), (OLD, NEW), {OLD: 99.0, NEW: 3.0}, NEW, id="everybody knows it"),
        pytest.param((OLD, NEW), (NEW, OLD), {OLD: 99.0, NEW: 3.0}, NEW, id="in whatever order they are named"),
        pytest.param((OLD, NEW), (OLD, NEW), {OLD: 0.0, NEW: 0.0}, OLD, id="started between the two documents"),
        pytest.param((OLD, NEW), (NEW,), {NEW: 0.0}, NEW, id="the old one is named no more: at once"),
        pytest.param((NEW,), (NEW,), {NEW: 99.0}, NEW, id="the old one is gone from the files"),
        pytest.param((OLD,), (OLD, NEW), {OLD: 99.0}, OLD, id="the new one is not in the files yet"),
    ],
)  # fmt: skip
def test_the_key_that_signs(
    held: tuple[SigningKey, ...],
    named: tuple[SigningKey, ...],
    named_for_s: dict[SigningKey, float],
    signs: SigningKey,
) -> None:
    known = {key.key_id: seconds for key, seconds in named_for_s.items()}
    found = in_order(held, naming(*named), Service.GENERATOR, known, SETTLE_S)
    assert found[0] is signs
    assert set(found) == set(held), "the others stay: what was sealed to them is opened"


@pytest.mark.parametrize("held", [pytest.param((OTHER,), id="one"), pytest.param((OTHER, OLD), id="two")])
def test_a_service_that_the_document_does_not_name_signs_nothing(held: tuple[SigningKey, ...]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        in_order(held, naming(NEW), Service.GENERATOR, {key.key_id: 99.0 for key in held}, SETTLE_S)
    assert "trust document 2 does not name it" in str(refused.value)
    assert held[0].key_id[:16] in str(refused.value)


BAD = [
    pytest.param(b"", id="empty"),
    pytest.param(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ", id="half written"),
    pytest.param(b"a passphrase", id="something else"),
    pytest.param(None, id="not there"),
]


@pytest.mark.parametrize("name", ["signing.key", "signing.key.next"])
@pytest.mark.parametrize("content", BAD)
def test_a_file_that_is_no_signing_key_is_named_and_not_quoted(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    (tmp_path / "signing.key").write_bytes(OLD.to_pem())
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    elif name.endswith(".next"):
        file.mkdir()  # there, and not a file
    else:
        file.unlink()
    with pytest.raises(ConfigurationError) as refused:
        read_signing_keys(tmp_path / "signing.key")
    assert f"signing key {file}: expected an Ed25519 key, PEM" in str(refused.value)
    assert "passphrase" not in str(refused.value)


def test_the_key_that_takes_over_lies_beside_the_one_that_signs(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_bytes(OLD.to_pem())
    assert [key.key_id for key in read_signing_keys(tmp_path / "signing.key")] == [OLD.key_id]
    (tmp_path / "signing.key.next").write_bytes(NEW.to_pem())
    assert [key.key_id for key in read_signing_keys(tmp_path / "signing.key")] == [OLD.key_id, NEW.key_id]
