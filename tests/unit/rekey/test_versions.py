from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

import pytest

from rekey.identity import KEPT_KEYS, TransportKey
from rekey.versions import (
    AeadVersion,
    InFlight,
    check_generated,
    context_of,
    install_remote,
    install_secret,
    public_key,
)
from rekey_core.confirmation import commit, confirmation_input
from rekey_core.contracts import NoticedVersion, ReleasedVersion
from rekey_core.encoding import b64u_encode
from rekey_core.errors import RecordError, RekeyError, ReplayedError, SchemaError, SignatureError
from rekey_core.names import Release
from tests.unit.rekey.world import ENV, KEY, RSA_KEY, World

W = World()
ME = W.instance.key_id


def test_a_delivered_key_that_generated_commits_to_is_installed() -> None:
    version = W.secret_version(1)
    data = confirmation_input(context_of(version.fact), "installed", ME, "d" * 32)
    assert version.installed == commit(W.secrets[1], data).hex()
    assert version.switched is None
    version.confirm_switch(ME)
    assert version.proof().switched not in (None, version.installed)
    assert W.secrets[1].reveal().hex() not in repr(version)


@pytest.mark.parametrize(
    ("secret", "error"),
    [
        pytest.param(b"x" * 64, "not the one that generated commits to", id="another key"),
        pytest.param(b"x" * 32, "expected a secret of 64 bytes, found 32", id="too short"),
        pytest.param(b"x" * 65, "expected a secret of 64 bytes, found 65", id="too long"),
        pytest.param(b"", "expected a secret of 64 bytes, found 0", id="nothing"),
    ],
)
def test_a_delivered_key_that_is_another_one_is_refused(secret: bytes, error: str) -> None:
    fact = W.generated(1)
    with pytest.raises(RecordError, match=error):
        install_secret(fact, W.released(1, secret), W.transport, ME)


def test_what_is_not_wrapped_to_the_transport_key_is_refused() -> None:
    released = W.released(1).model_copy(update={"wrapped": b64u_encode(b"x" * 256)})
    with pytest.raises(RecordError):
        install_secret(W.generated(1), released, W.transport, ME)


AES_KEY = b"t" * 32


def test_a_version_under_an_aes_transport_key_is_installed() -> None:
    fact = W.generated(1, release=Release.TRANSPORT_KEY)
    transport = TransportKey(RSA_KEY)
    for _ in range(2):  # the AES key opened, and kept opened
        version = install_secret(fact, W.released(1, under=AES_KEY), transport, ME)
        data = confirmation_input(context_of(fact), "installed", ME, version.delivery)
        assert isinstance(version, AeadVersion)
        assert version.installed == commit(W.secrets[1], data).hex()


def test_an_aes_transport_key_that_is_kept_opens_nothing_that_came_with_another() -> None:
    transport = TransportKey(RSA_KEY)
    first, other = W.released(1, under=AES_KEY), W.released(1, under=b"u" * 32)
    fact = W.generated(1, release=Release.TRANSPORT_KEY)
    for _ in range(KEPT_KEYS + 1):  # more than are kept
        install_secret(fact, W.released(1, under=secrets.token_bytes(32)), transport, ME)
    install_secret(fact, first, transport, ME)
    install_secret(fact, other, transport, ME)
    swapped = first.model_copy(update={"transport": other.transport})
    with pytest.raises(RecordError, match="not wrapped under the AES key that came with it"):
        install_secret(fact, swapped, transport, ME)
    install_secret(fact, first, transport, ME)


@pytest.mark.parametrize(
    ("released", "error"),
    [
        pytest.param(lambda: W.released(1, b"x" * 64, under=AES_KEY), "commits to", id="another key"),
        pytest.param(lambda: W.released(1, b"x" * 32, under=AES_KEY), "found 32", id="too short"),
        pytest.param(lambda: W.released(1, b"x" * 65, under=AES_KEY), "found 65", id="too long"),
        pytest.param(lambda: W.released(1, under=b"t" * 16), "found 16", id="under AES-128"),
        pytest.param(lambda: W.released(1), "came without an AES", id="to the trusted key itself"),
        pytest.param(lambda: under(wrapped="AAAA"), "not wrapped under the AES key", id="no wrap"),
        pytest.param(lambda: under(wrapped=""), "not wrapped under the AES key", id="nothing"),
        pytest.param(lambda: under(wrapped="A" * 96), "not wrapped under the AES key", id="zeros"),
        pytest.param(lambda: under(transport=""), "not wrapped to transport key", id="under nothing"),
        pytest.param(
            lambda: under(transport="A" * 344), "not wrapped to transport key", id="under what is not ours"
        ),
    ],
)
def test_a_version_of_release_transport_key_that_came_otherwise_is_refused(
    released: Callable[[], ReleasedVersion], error: str
) -> None:
    fact = W.generated(1, release=Release.TRANSPORT_KEY)
    with pytest.raises(RecordError, match=error):
        install_secret(fact, released(), TransportKey(RSA_KEY), ME)


def test_a_trusted_recipients_version_is_not_taken_under_an_aes_key() -> None:
    with pytest.raises(RecordError, match="of release trusted-recipient and came with an AES"):
        install_secret(W.generated(1), W.released(1, under=AES_KEY), W.transport, ME)


def under(**changes: str) -> ReleasedVersion:
    return W.released(1, under=AES_KEY).model_copy(update=changes)


def test_a_signing_version_is_no_secret_version() -> None:
    fact = W.generated(1, release=Release.NEVER)
    with pytest.raises(SchemaError):
        install_secret(fact, W.released(1), W.transport, ME)


def test_a_version_that_stays_in_the_hsm_is_installed_by_a_probe_of_this_instance() -> None:
    fact = W.generated(1, release=Release.NEVER)
    version = install_remote(fact, W.probe(fact), ME)
    assert version.id == version.jwk["kid"]
    assert version.proof().installed == W.probe(fact).model_copy(
        update={"signature": version.installed.signature}
    )


@pytest.mark.parametrize("what", ["another phase", "another instance", "another nonce", "cut short"])
def test_a_probe_of_something_else_is_refused(what: str) -> None:
    fact = W.generated(1, release=Release.NEVER)
    proof = {
        "another phase": lambda: W.probe(fact, "switched"),
        "another instance": lambda: W.probe(fact, instance="b" * 32),
        "another nonce": lambda: W.probe(fact).model_copy(update={"nonce": "f" * 32}),
        "cut short": lambda: W.probe(fact).model_copy(update={"signature": "AAAA"}),
    }[what]()
    with pytest.raises(SignatureError):
        install_remote(fact, proof, ME)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"spki": None}, id="none"),
        pytest.param({"commitment": "0" * 64}, id="not the one that generated commits to"),
    ],
)
def test_a_public_key_is_the_one_that_generated_commits_to(change: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        public_key(W.generated(1, release=Release.NEVER).model_copy(update=change))


@pytest.mark.parametrize(
    "change",
    [{"env": "prod"}, {"key": "other"}, {"version": 3}, {"key_id": 5}, {"release": Release.NEVER}],
    ids=lambda change: next(iter(change)),
)
def test_generated_and_notice_must_say_the_same(change: dict[str, object]) -> None:
    fact = W.generated(1)
    noticed = NoticedVersion(version=1, key_id=fact.key_id, state="active")
    said = {"env": ENV, "key": KEY, "noticed": noticed, "algorithm": fact.algorithm, "release": fact.release}
    check_generated(fact, **said)  # type: ignore[arg-type]
    with pytest.raises(ReplayedError):
        check_generated(fact.model_copy(update=change), **said)  # type: ignore[arg-type]


def test_in_flight_counts_calls_of_many_threads() -> None:
    calls = InFlight()

    def work() -> None:
        for _ in range(5000):
            calls.enter()
            calls.leave()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls.is_empty
    calls.enter()
    assert not calls.is_empty


def test_a_transport_key_shows_its_hash_and_nothing_else() -> None:
    assert repr(W.transport) == f"TransportKey({W.transport.spki_sha256[:16]})"
    with pytest.raises(RekeyError):
        W.transport.unwrap(b"", where="k@1")
