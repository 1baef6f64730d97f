"""Each input is bound to its kind, its version and its occasion: no two of them are the same bytes."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest

from rekey_core.confirmation import (
    MAC_PREFIX,
    PROBE_PREFIX,
    VersionContext,
    application_mac_input,
    check,
    commit,
    commitment_input,
    confirmation_input,
    probe_message,
    record_mac_input,
    secret_commitment,
    spki_commitment,
)
from rekey_core.encoding import lp
from rekey_core.errors import SignatureError
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret

CONTEXT = VersionContext("dev", "orders-db", 3, Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 1)
OTHERS = [
    pytest.param(replace(CONTEXT, env="prod"), id="environment"),
    pytest.param(replace(CONTEXT, key="orders"), id="key"),
    pytest.param(replace(CONTEXT, version=4), id="version"),
    pytest.param(replace(CONTEXT, algorithm=Algorithm.EC_P256), id="algorithm"),
    pytest.param(replace(CONTEXT, release=Release.NEVER), id="release"),
    pytest.param(replace(CONTEXT, epoch=2), id="epoch"),
    pytest.param(replace(CONTEXT, env="devo", key="rders-db"), id="where one name ends"),
]


def _inputs(context: VersionContext) -> dict[str, bytes]:
    return {
        "commitment": commitment_input(context),
        "installed": confirmation_input(context, "installed", "i", "d"),
        "switched": confirmation_input(context, "switched", "i", "d"),
        "probe installed": probe_message(context, "installed", "i", "d"),
        "probe switched": probe_message(context, "switched", "i", "d"),
        "record": record_mac_input(context, 7, "ab", "cd", "ef"),
    }


@pytest.mark.parametrize("other", OTHERS)
def test_every_input_depends_on_the(other: VersionContext) -> None:
    mine, theirs = _inputs(CONTEXT), _inputs(other)
    assert [name for name in mine if mine[name] == theirs[name]] == []


def test_no_input_stands_for_another_kind() -> None:
    assert len(set(_inputs(CONTEXT).values())) == len(_inputs(CONTEXT))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("installed", "i", "d"), ("switched", "i", "d"), id="phase"),
        pytest.param(("installed", "i", "d"), ("installed", "j", "d"), id="instance"),
        pytest.param(("installed", "i", "d"), ("installed", "i", "e"), id="delivery or nonce"),
        pytest.param(("installed", "id", ""), ("installed", "i", "d"), id="where one ends"),
    ],
)
def test_a_proof_is_for_one(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    for make in (confirmation_input, probe_message):
        assert make(CONTEXT, *one) != make(CONTEXT, *other)  # type: ignore[arg-type] # the phase is a plain str here


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((8, "ab", "cd", "ef"), id="key id"),
        pytest.param((7, "ac", "cd", "ef"), id="blob"),
        pytest.param((7, "ab", "ce", "ef"), id="commitment"),
        pytest.param((7, "ab", "cd", "eg"), id="cause"),
    ],
)
def test_a_record_mac_is_for_one(other: tuple[int, str, str, str]) -> None:
    assert record_mac_input(CONTEXT, 7, "ab", "cd", "ef") != record_mac_input(CONTEXT, *other)


def test_the_bytes_are_these() -> None:
    """The HSM of one release and the SDK of another must agree, so a change here is a new label."""
    context = lp("dev", "orders-db", 3, "AES-256-GCM", "trusted-recipient", 1)
    assert commitment_input(CONTEXT) == lp("rekey-commitment@v1") + context
    expected = lp("rekey-confirm@v1") + context + lp("installed", "i", "d")
    assert confirmation_input(CONTEXT, "installed", "i", "d") == expected
    assert probe_message(CONTEXT, "switched", "i", "n") == lp("rekey-probe@v1") + context + lp(
        "switched", "i", "n"
    )
    expected = lp("rekey-record@v1") + context + lp(7, "ab", "cd", "ef")
    assert record_mac_input(CONTEXT, 7, "ab", "cd", "ef") == expected


def test_a_probe_and_nothing_else_starts_with_the_prefix() -> None:
    starts = {name: data.startswith(PROBE_PREFIX) for name, data in _inputs(CONTEXT).items()}
    assert {name for name, does in starts.items() if does} == {"probe installed", "probe switched"}
    assert PROBE_PREFIX[0] == 0, "no text that a dependent signs, a JWS least of all, starts with a zero byte"


@pytest.mark.parametrize("name", _inputs(CONTEXT))
def test_no_message_of_a_dependent_is_macked_as_an_input_of_ours(name: str) -> None:
    """Under a key that never leaves the HSM both are MACs by the same key: a dependent chooses all behind the prefix."""
    mine = _inputs(CONTEXT)[name]
    assert not mine.startswith(MAC_PREFIX)
    for message in (b"", mine, mine[len(MAC_PREFIX) :], mine[4:]):
        assert application_mac_input(message) == MAC_PREFIX + message != mine


def test_no_label_of_ours_begins_another() -> None:
    """So inputs of two kinds differ whatever follows the label: the length in front of it comes first."""
    labels = {data[: 4 + int.from_bytes(data[:4], "big")] for data in _inputs(CONTEXT).values()} | {
        MAC_PREFIX
    }
    assert len(labels) == 5
    assert [a for a in labels for b in labels if a != b and b.startswith(a)] == []


def test_a_secret_that_never_leaves_is_committed_to_by_the_hash_of_its_check_value() -> None:
    never = replace(CONTEXT, release=Release.NEVER)
    assert secret_commitment(CONTEXT, bytes(32)) == bytes(32).hex()
    for mac in (bytes(16), bytes(32)):
        assert secret_commitment(never, mac) == hashlib.sha256(mac).hexdigest()


def test_the_commitment_uses_all_64_bytes() -> None:
    secret = bytes(range(64))
    values = {commit(Secret(secret), b"input")}
    values |= {commit(Secret(secret[:i] + b"\xff" + secret[i + 1 :]), b"input") for i in range(64)}
    assert len(values) == 65


def test_the_commitment_is_hmac_sha256() -> None:
    # RFC 2104 §2 by hand: 64 bytes are exactly one block
    secret = bytes(range(64))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in secret) + b"input").digest()
    assert (
        commit(Secret(secret), b"input") == hashlib.sha256(bytes(b ^ 0x5C for b in secret) + inner).digest()
    )


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_secret_of_another_length_is_a_misuse(length: int) -> None:
    with pytest.raises(ValueError, match=f"expected a secret of 64 bytes, found {length}"):
        commit(Secret(bytes(length)), b"input")


def test_a_value_that_hashes_to_the_delivered_one_is_good() -> None:
    check(b"value", hashlib.sha256(b"value").hexdigest())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"valuf", hashlib.sha256(b"value").hexdigest(), id="another value"),
        pytest.param(b"", hashlib.sha256(b"value").hexdigest(), id="no value"),
        pytest.param(b"value", "", id="no hash"),
        pytest.param(b"value", hashlib.sha256(b"value").hexdigest()[:-1], id="a hash that was cut off"),
        pytest.param(b"value", hashlib.sha256(b"value").hexdigest().upper(), id="a hash in capitals"),
    ],
)
def test_another_value_is_refused(value: bytes, expected: str) -> None:
    with pytest.raises(SignatureError):
        check(value, expected)


def test_a_private_key_is_committed_to_by_its_public_half() -> None:
    assert spki_commitment(b"spki") == hashlib.sha256(b"spki").hexdigest()


def test_a_context_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CONTEXT.version = 4  # type: ignore[misc] # the point of the test
