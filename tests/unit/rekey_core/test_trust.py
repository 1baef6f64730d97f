"""Who is who: a chain from a pinned genesis, of which each link needs the quorum of the link before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rekey_core.contracts import TRUST_NAMESPACE, OfficerSignature, Person, SignedTrust
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json, sha256_hex
from rekey_core.errors import AuthorityError, TrustError
from rekey_core.names import Role, Service
from rekey_core.sshsig import public_key_of
from rekey_core.trust import Trust, issue, payload_of
from tests.unit.world import ENV, World, ssh_key

WORLD = World()
GENESIS = sha256_hex(b64u_decode(WORLD.genesis.payload))
PEOPLE = WORLD.document().people


def chain(*documents: SignedTrust, genesis: str = GENESIS, env: str = ENV) -> Trust:
    return Trust.from_chain(documents, genesis=genesis, env=env)


def first(**changes: Any) -> tuple[SignedTrust, str]:
    """A first document with its own genesis hash."""
    signed = issue(WORLD.document(**changes), ())
    return signed, sha256_hex(b64u_decode(signed.payload))


def test_the_first_document_needs_its_hash_only() -> None:
    trust = chain(WORLD.genesis)
    assert (trust.n, trust.env, trust.digest) == (1, ENV, GENESIS)


def test_the_next_document_is_believed_with_its_quorum() -> None:
    signed = WORLD.next_trust("oliver", "olga")
    trust = chain(WORLD.genesis, signed)
    assert (trust.n, trust.digest) == (2, sha256_hex(b64u_decode(signed.payload)))
    assert trust == chain(WORLD.genesis).extended(signed)


def test_the_quorum_is_the_one_of_the_document_before() -> None:
    lowered = WORLD.next_trust("oliver", quorum=1)
    with pytest.raises(TrustError, match="expected 2 officers, found 1"):
        chain(WORLD.genesis, lowered)


def test_who_is_an_officer_is_said_by_the_document_before() -> None:
    people = {**PEOPLE, "adam": PEOPLE["adam"].model_copy(update={"roles": (Role.TRUST_OFFICER,)})}
    with pytest.raises(TrustError, match="adam is not a trust officer of version 1"):
        chain(WORLD.genesis, WORLD.next_trust("oliver", "adam", people=people))


def test_an_officer_who_left_can_still_sign_the_document_that_says_so() -> None:
    people = {name: person for name, person in PEOPLE.items() if name != "olga"}
    trust = chain(WORLD.genesis, WORLD.next_trust("oliver", "olga", people=people, quorum=1))
    with pytest.raises(AuthorityError):
        trust.person("olga")


def _spaced(payload: bytes) -> bytes:
    return payload.replace(b'"n":1', b'"n": 1')


def _with_payload(change: Callable[[bytes], bytes]) -> tuple[SignedTrust, str]:
    payload = change(b64u_decode(WORLD.genesis.payload))
    return SignedTrust(payload=b64u_encode(payload), signatures=()), sha256_hex(payload)


def _unknown_field(payload: bytes) -> bytes:
    return canonical_json({**json.loads(payload), "surprise": 1})


@pytest.mark.parametrize(
    ("signed", "genesis", "expected"),
    [
        pytest.param(WORLD.genesis, "0" * 64, "expected genesis 0000", id="another genesis is pinned"),
        pytest.param(*first(n=2, previous="0" * 64), "expected version 1", id="the first is a second"),
        pytest.param(*first(previous="0" * 64), "expected version 1", id="the first has one before"),
        pytest.param(*first(env="prod"), "for dev", id="the first is of another environment"),
        pytest.param(*first(quorum=4), "quorum 4 of 3 officers", id="a quorum above the officers"),
        pytest.param(*_with_payload(_spaced), "canonical", id="not canonical: a space"),
        pytest.param(*_with_payload(lambda p: p + b"\n"), "canonical", id="not canonical: a line end"),
        pytest.param(
            *_with_payload(_unknown_field), "trust document: surprise: extra inputs", id="an unknown field"
        ),
        pytest.param(*_with_payload(lambda _: b"{"), "trust document", id="not JSON"),
        pytest.param(*_with_payload(lambda _: b""), "trust document", id="nothing"),
        pytest.param(
            SignedTrust(payload="A", signatures=()), GENESIS, "trust document", id="not base64url of bytes"
        ),
        pytest.param(
            *first(services={Service.AUDIT: (b64u_encode(b"short"),)}),
            "key of audit has 5 bytes",
            id="a service's key is no key",
        ),
        pytest.param(
            *first(
                people={
                    **PEOPLE,
                    "mallory": PEOPLE["oliver"].model_copy(update={"roles": (Role.TRUST_OFFICER,)}),
                }
            ),
            "mallory and oliver have the same SSH key",
            id="two officers with one key",
        ),
    ],
)
def test_a_first_document_is_refused(signed: SignedTrust, genesis: str, expected: str) -> None:
    with pytest.raises(TrustError, match=expected):
        chain(signed, genesis=genesis)


def test_no_document_is_refused() -> None:
    with pytest.raises(TrustError, match="found none"):
        chain()


def _signed_for(namespace: str) -> SignedTrust:
    document = WORLD.document(n=2, previous=GENESIS)
    payload = payload_of(document)
    return issue(
        document,
        [
            OfficerSignature(person=name, sshsig=WORLD.officer(name, payload, namespace))
            for name in ("oliver", "olga")
        ],
    )


def _moved_signatures() -> SignedTrust:
    return WORLD.next_trust("oliver", "olga").model_copy(
        update={"payload": WORLD.next_trust(quorum=1).payload}
    )


@pytest.mark.parametrize(
    ("signed", "expected"),
    [
        pytest.param(WORLD.next_trust(), "found 0", id="nobody signed"),
        pytest.param(WORLD.next_trust("oliver"), "found 1", id="one of two signed"),
        pytest.param(WORLD.next_trust("oliver", "oliver"), "found 1", id="one signed twice"),
        pytest.param(
            WORLD.next_trust("oliver", "olga", by="oliver"),
            "expected a signature by olga",
            id="one signed for another",
        ),
        pytest.param(
            WORLD.next_trust("oliver", "olga", "alice"),
            "alice is not a trust officer",
            id="an owner signed too",
        ),
        pytest.param(
            WORLD.next_trust("oliver", "nobody", by="oliver"), "nobody is not a trust", id="a stranger signed"
        ),
        pytest.param(_signed_for("rekey-cmd@v1"), "namespace", id="signed as a command"),
        pytest.param(_moved_signatures(), "signature", id="signatures over another document"),
        pytest.param(WORLD.next_trust("oliver", "olga", n=3), "expected version 2", id="a gap"),
        pytest.param(WORLD.next_trust("oliver", "olga", n=1), "expected version 2", id="a number twice"),
        pytest.param(
            WORLD.next_trust("oliver", "olga", previous="0" * 64), "after 0000", id="after another document"
        ),
        pytest.param(
            WORLD.next_trust("oliver", "olga", env="prod"), "expected version", id="of another environment"
        ),
        pytest.param(
            WORLD.next_trust("oliver", "olga", quorum=4), "quorum 4 of 3", id="nobody could follow it"
        ),
    ],
)
def test_a_next_document_is_refused(signed: SignedTrust, expected: str) -> None:
    with pytest.raises(TrustError, match=expected):
        chain(WORLD.genesis, signed)


def test_the_namespace_of_officers_is_their_own() -> None:
    chain(WORLD.genesis, _signed_for(TRUST_NAMESPACE))


def test_one_person_may_have_two_keys() -> None:
    spare = ssh_key()
    keys = (*PEOPLE["olga"].ssh_keys, public_key_of(spare))
    people = {**PEOPLE, "olga": PEOPLE["olga"].model_copy(update={"ssh_keys": keys})}
    signed, genesis = first(people=people)
    document = WORLD.document(n=2, previous=genesis, people=people)
    second = World(people={**WORLD.people, "olga": spare})
    signatures = [
        OfficerSignature(person=name, sshsig=second.officer(name, payload_of(document), TRUST_NAMESPACE))
        for name in ("oliver", "olga")
    ]
    assert chain(signed, issue(document, signatures), genesis=genesis).n == 2


def test_the_keys_of_a_service_are_raw() -> None:
    trust = chain(WORLD.genesis)
    assert trust.service_keys(Service.GENERATOR) == (WORLD.services[Service.GENERATOR].public_raw,)


def test_a_service_that_is_not_named_has_no_key() -> None:
    signed, genesis = first(services={})
    assert chain(signed, genesis=genesis).service_keys(Service.GENERATOR) == ()


def test_strangers_are_refused_by_name() -> None:
    trust = chain(WORLD.genesis)
    with pytest.raises(AuthorityError, match="mallory is not in the trust document"):
        trust.person("mallory")
    with pytest.raises(AuthorityError, match="dependent shipping is not enrolled"):
        trust.dependent("shipping")
    assert trust.dependent("orders").owner == "alice"


@pytest.mark.parametrize(
    ("scopes", "key", "covered"),
    [
        pytest.param(("orders-*",), "orders-db", True, id="a glob covers its keys"),
        pytest.param(("orders-*",), "billing-db", False, id="and no others"),
        pytest.param(("orders-*",), "orders", False, id="not its own prefix"),
        pytest.param(("orders-db",), "orders-db", True, id="a name covers itself"),
        pytest.param(("orders-db",), "orders-db-2", False, id="a name covers nothing longer"),
        pytest.param(("Orders-*",), "orders-db", False, id="case matters"),
        pytest.param(("a", "*-db"), "orders-db", True, id="any scope of several"),
        pytest.param(("*",), "orders-db", True, id="a star covers everything"),
        pytest.param((), "orders-db", False, id="no scope covers nothing"),
    ],
)
def test_scopes(scopes: tuple[str, ...], key: str, covered: bool) -> None:  # noqa: FBT001
    person = Person(ssh_keys=PEOPLE["alice"].ssh_keys, roles=(Role.OWNER,), scopes=scopes)
    signed, genesis = first(people={**PEOPLE, "alice": person})
    assert chain(signed, genesis=genesis).in_scope("alice", key) is covered


def test_roles_are_what_the_document_says() -> None:
    trust = chain(WORLD.genesis)
    assert trust.has_role("rita", Role.RESPONDER)
    assert not trust.has_role("rita", Role.OWNER)
