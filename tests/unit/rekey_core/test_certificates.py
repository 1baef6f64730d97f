"""What is found out about a certificate and its key before they are used; each row is a mistake that people make."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from rekey_core.authority import Identity
from rekey_core.certificates import Certificate, Credentials, judge
from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret
from rekey_provision import spiffe_id
from tests.system.certificates import ENV, Authority
from tests.system.certificates import Certificate as Files

OURS = spiffe_id(ENV, Identity.GENERATOR)
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
TODAY = dt.timedelta()


@dataclass(frozen=True)
class World:
    """A CA, another one, and a pair of ours."""

    ca: Authority
    other: Authority
    ours: Credentials


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    cas = [Authority(tmp_path_factory.mktemp(name)) for name in ("ca", "other")]
    return World(cas[0], cas[1], read(cas[0].identity(Identity.GENERATOR)))


def read(files: Files) -> Credentials:
    return Credentials(files.cert.read_bytes(), Secret(files.key.read_bytes()), files.ca.read_bytes())


def another(world: World) -> Credentials:
    return read(world.ca.identity(Identity.GENERATOR, valid_for=2 * DAY))


def encrypted(world: World) -> Credentials:
    key = load_pem_private_key(world.ours.key.reveal(), None)
    passphrase = BestAvailableEncryption(b"a passphrase")
    return replace(world.ours, key=Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, passphrase)))


def half_a_key(world: World) -> Credentials:
    return replace(world.ours, key=Secret(world.ours.key.reveal()[:90]))


def of_production(world: World) -> Credentials:
    return read(world.ca.identity(Identity.GENERATOR, env="prod"))


def foreign(world: World) -> Credentials:
    return replace(read(world.other.identity(Identity.GENERATOR)), ca=world.ours.ca)


def self_signed(world: World) -> Credentials:
    """Whoever brings his own CA in the chain is not issued by one that is trusted."""
    theirs = read(world.other.identity(Identity.GENERATOR))
    return replace(theirs, cert=theirs.cert + theirs.ca, ca=world.ours.ca)


def nameless(world: World) -> Credentials:
    return read(world.ca.issue("nameless", [x509.DNSName("localhost")]))


def two_names(world: World) -> Credentials:
    uris = [x509.UniformResourceIdentifier(uri) for uri in (OURS, f"{OURS}/more")]
    return read(world.ca.issue("two-names", uris))


BAD: list[tuple[str, Callable[[World], Credentials], dt.timedelta, str]] = [
    ("the key of another pair", lambda w: replace(w.ours, key=another(w).key), TODAY, "tls_key: expected the key"),
    ("a key with a passphrase", encrypted, TODAY, "tls_key: expected a private key without a passphrase"),
    ("half a key", half_a_key, TODAY, "tls_key: expected a private key"),
    ("an empty key", lambda w: replace(w.ours, key=Secret(b"")), TODAY, "tls_key: expected a private key"),
    ("half a certificate", lambda w: replace(w.ours, cert=w.ours.cert[:200]), TODAY, "tls_cert: expected certificates"),
    ("an empty certificate", lambda w: replace(w.ours, cert=b""), TODAY, "tls_cert: expected certificates"),
    ("a key in the certificate's place", lambda w: replace(w.ours, cert=w.ours.key.reveal()), TODAY, "tls_cert: expected"),
    ("no CA", lambda w: replace(w.ours, ca=b""), TODAY, "tls_ca: expected certificates"),
    ("expired", lambda w: w.ours, 2 * DAY, "tls_cert: expected it to be valid at"),
    ("expired this moment", lambda w: w.ours, DAY, "tls_cert: expected it to be valid at"),
    ("not yet valid", lambda w: w.ours, -DAY, "tls_cert: expected it to be valid at"),
    ("another service's", lambda w: read(w.ca.identity(Identity.AUDIT)), TODAY, f"expected identity {OURS}, found"),
    ("a person's", lambda w: read(w.ca.identity(Identity.PERSON, "alice")), TODAY, f"expected identity {OURS}, found"),
    ("of another environment", of_production, TODAY, f"expected identity {OURS}"),
    ("without an identity", nameless, TODAY, "expected exactly one URI, the SPIFFE ID, found none"),
    ("with two identities", two_names, TODAY, "expected exactly one URI, the SPIFFE ID, found spiffe"),
    ("by another CA", foreign, TODAY, "issued by a CA of tls_ca"),
    ("by another CA that is in its chain", self_signed, TODAY, "issued by a CA of tls_ca"),
    ("by a CA that is trusted no more", lambda w: replace(w.ours, ca=w.other.ca.read_bytes()), TODAY, "issued by a CA"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "later", "said"),
    [pytest.param(given, later, said, id=name) for name, given, later, said in BAD],
)
def test_what_cannot_be_used_is_refused_with_expected_and_found(
    world: World, given: Callable[[World], Credentials], later: dt.timedelta, said: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        judge(given(world), until(world) - DAY + later, identity=OURS)
    assert said in str(refused.value)
    assert refused.value.hint is not None
    assert "PRIVATE" not in str(refused.value)


GOOD: list[tuple[str, Callable[[World], Credentials]]] = [
    ("a pair of ours", lambda w: w.ours),
    ("another pair of ours", another),
    ("while two CAs are trusted", lambda w: replace(w.ours, ca=w.other.ca.read_bytes() + w.ours.ca)),
    ("with its CA behind it in the file", lambda w: replace(w.ours, cert=w.ours.cert + w.ours.ca)),
]  # fmt: skip


@pytest.mark.parametrize("given", [pytest.param(given, id=name) for name, given in GOOD])
def test_what_can_be_used_says_who_it_is_and_until_when(
    world: World, given: Callable[[World], Credentials]
) -> None:
    found = judge(given(world), NOW, identity=OURS)
    assert found.identity == OURS
    assert found.not_before < NOW < found.not_after


def test_at_a_start_the_server_says_whether_it_is_of_today(world: World) -> None:
    """A machine with a wrong clock must be able to start."""
    assert judge(world.ours, None) == judge(world.ours, NOW)


@pytest.mark.parametrize(
    ("life", "left", "soon"),
    [
        pytest.param(365 * DAY, 15 * DAY, False, id="a year's, 15 days before its end"),
        pytest.param(365 * DAY, 13 * DAY, True, id="a year's, 13 days before its end"),
        pytest.param(DAY, DAY / 4, False, id="a day's, with a quarter left"),
        pytest.param(DAY, DAY / 6, True, id="a day's, with a sixth left"),
        pytest.param(DAY, -DAY, True, id="over"),
    ],
)
def test_when_it_is_time_for_a_new_one(life: dt.timedelta, left: dt.timedelta, *, soon: bool) -> None:
    assert Certificate(OURS, "00", NOW - life, NOW).expires_soon(NOW - left) is soon


def until(world: World) -> dt.datetime:
    return x509.load_pem_x509_certificate(world.ours.cert).not_valid_after_utc
