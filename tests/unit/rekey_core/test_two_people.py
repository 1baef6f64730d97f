"""Two people: one signed body, two people's detached SSHSIGs. And all that is not two."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rekey_core.commands import RULES, command_id, cosigned, verify_command
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    MAX_COSIGNATURES,
    MAX_COSIGNED_LIFETIME_S,
    TRUST_NAMESPACE,
    Cosignature,
    Force,
    Person,
    Rotate,
    SignedCommand,
    SignedTrust,
)
from rekey_core.encoding import b64u_decode
from rekey_core.errors import AuthorityError, ExpiredError, NotInScopeError, RekeyError, SignatureError
from rekey_core.names import Role
from rekey_core.sshsig import public_key_of
from rekey_core.sshsig import sign as ssh_sign
from tests.unit.world import ENV, NOW, World, ssh_key

WORLD = World()
SECOND_KEY = ssh_key()  # another key of alice: still the same person
STRANGER = ssh_key()
LONGEST = timedelta(seconds=MAX_COSIGNED_LIFETIME_S)


def _two_keys() -> SignedTrust:
    people = dict(WORLD.document().people)
    alice = people["alice"]
    keys = (*alice.ssh_keys, public_key_of(SECOND_KEY))
    people["alice"] = Person(ssh_keys=keys, roles=alice.roles, scopes=alice.scopes)
    narrow = people["otto"].model_copy(update={"scopes": ("billing-*",), "roles": (Role.OWNER,)})
    return WORLD.next_trust("oliver", "olga", people=people | {"otto": narrow})


TRUST = WORLD.trust.extended(_two_keys())
"""As in the world, but alice has two keys, and otto owns no key of hers."""


def force(author: str = "alice", **fields: Any) -> SignedCommand:
    return WORLD.signed(WORLD.command(Force, author, version=2, **fields))


def by(signed: SignedCommand, *people: str, namespace: str = COMMAND_NAMESPACE) -> SignedCommand:
    """With these people's signatures over its body."""
    payload = b64u_decode(signed.payload)
    more = tuple(Cosignature(person=p, sshsig=ssh_sign(WORLD.people[p], payload, namespace)) for p in people)
    return signed.model_copy(update={"cosignatures": more})


def claimed(signed: SignedCommand, person: str, key: bytes, body: bytes | None = None) -> SignedCommand:
    """With a signature by this key that is said to be the person's."""
    sshsig = ssh_sign(key, b64u_decode(signed.payload) if body is None else body, COMMAND_NAMESPACE)
    return signed.model_copy(update={"cosignatures": (Cosignature(person=person, sshsig=sshsig),)})


def verify(signed: SignedCommand, at: datetime = NOW) -> str:
    return verify_command(signed, trust=TRUST, env=ENV, at=at).VERB


REFUSED = [
    pytest.param(force(), AuthorityError, "expected 2 people, found alice", id="nobody else"),
    pytest.param(by(force(), "alice"), AuthorityError, "alice signed already", id="the author again"),
    pytest.param(
        claimed(force(), "alice", SECOND_KEY),
        AuthorityError,
        "alice signed already",
        id="the author with another key of hers",
    ),
    pytest.param(
        claimed(force(), "rita", SECOND_KEY),
        SignatureError,
        "signature by rita",
        id="the author under another's name",
    ),
    pytest.param(
        by(force(), "rita", "rita"), AuthorityError, "rita signed already", id="one other person, twice"
    ),
    pytest.param(
        claimed(force(), "rita", STRANGER), SignatureError, "signature by rita", id="a key that nobody knows"
    ),
    pytest.param(
        claimed(force(), "mallory", STRANGER),
        AuthorityError,
        "mallory is not in the trust",
        id="a person whom nobody knows",
    ),
    pytest.param(
        by(force(), "rita", namespace=TRUST_NAMESPACE), SignatureError, "namespace", id="another namespace"
    ),
    pytest.param(
        claimed(force(), "rita", WORLD.people["rita"], b64u_decode(force().payload)),
        SignatureError,
        "does not verify",
        id="another body that says the same",
    ),
    pytest.param(by(force(), "adam"), AuthorityError, "adam is not owner or responder", id="an auditor"),
    pytest.param(by(force(), "otto"), NotInScopeError, "not in the scope of otto", id="out of scope"),
    pytest.param(
        by(force(), "rita", "adam"), AuthorityError, "adam is not", id="two, and a third who does not count"
    ),
    pytest.param(by(force("rita"), "alice"), AuthorityError, "rita is not owner", id="the roles swapped"),
    pytest.param(
        by(WORLD.rotate(), "rita"), AuthorityError, "its author alone", id="two where one is enough"
    ),
]


@pytest.mark.parametrize(("signed", "error", "words"), REFUSED)
def test_these_are_not_two_people(signed: SignedCommand, error: type[RekeyError], words: str) -> None:
    with pytest.raises(error, match=words):
        verify(signed)


def test_an_owner_and_a_responder_are_two_people() -> None:
    assert verify(by(force(), "rita")) == "force"


def test_the_id_is_of_the_body_whoever_signs_it() -> None:
    signed = force()
    assert command_id(by(signed, "rita")) == command_id(signed)


def test_only_what_needs_two_people_lives_long_enough_to_wake_the_second() -> None:
    late = NOW + LONGEST - timedelta(seconds=1)
    assert verify(by(force(expires_at=NOW + LONGEST), "rita"), late) == "force"
    with pytest.raises(ExpiredError, match="lives 14401 s, expected more than 0 and at most 14400"):
        verify(by(force(expires_at=NOW + LONGEST + timedelta(seconds=1)), "rita"))
    with pytest.raises(ExpiredError, match="at most 600"):
        verify(WORLD.signed(WORLD.command(Rotate, "alice", expires_at=NOW + LONGEST)))


def test_two_are_needed_where_cosigners_may_be_and_only_there() -> None:
    for verb, rule in RULES.items():
        assert rule.people - 1 <= MAX_COSIGNATURES, verb
        assert (rule.people > 1) == bool(rule.cosigners), verb


def test_what_ssh_keygen_signs_in_a_file_is_the_second_signature(tmp_path: Path) -> None:
    signed, body, key = force(), tmp_path / "body", tmp_path / "id_ed25519"
    body.write_bytes(b64u_decode(signed.payload))
    key.touch(mode=0o600)
    key.write_bytes(WORLD.people["rita"])
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", COMMAND_NAMESPACE, "-f", str(key), str(body)]
    subprocess.run(command, check=True, capture_output=True)
    both = cosigned(signed, body.with_suffix(".sig").read_text(), TRUST)
    assert [cosignature.person for cosignature in both.cosignatures] == ["rita"]
    assert verify(both) == "force"


@pytest.mark.parametrize(
    ("key", "namespace"),
    [
        pytest.param(STRANGER, COMMAND_NAMESPACE, id="of a stranger"),
        pytest.param(WORLD.people["rita"], TRUST_NAMESPACE, id="in another namespace"),
    ],
)
def test_a_signature_of_nobody_is_not_attached(key: bytes, namespace: str) -> None:
    signed = force()
    sshsig = ssh_sign(key, b64u_decode(signed.payload), namespace)
    with pytest.raises(SignatureError, match="nobody in trust document 2") as refused:
        cosigned(signed, sshsig, TRUST)
    assert refused.value.hint == "sign exactly the body file: rekey sign BODY"
