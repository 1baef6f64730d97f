"""A person's command counts if its author may give it, in time, in this environment, and in one spelling."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rekey_core.commands import (
    CLOCK_SKEW_S,
    RULES,
    command_id,
    payload_of,
    read_command,
    verify_command,
)
from rekey_core.contracts import (
    COMMANDS,
    MAX_COMMAND_LIFETIME_S,
    TRUST_NAMESPACE,
    VERBS,
    Register,
    Rotate,
    SignedCommand,
    Suspend,
)
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json, sha256_hex
from rekey_core.errors import (
    AuthorityError,
    ExpiredError,
    ForeignEnvironmentError,
    NotInScopeError,
    RekeyError,
    SchemaError,
    SignatureError,
)
from rekey_core.sshsig import sign
from tests.unit.world import ENV, NOW, World

WORLD = World()
TEN_MINUTES = timedelta(seconds=MAX_COMMAND_LIFETIME_S)


def verify(signed: SignedCommand, at: datetime = NOW, env: str = ENV) -> str:
    """The verb of a command that is verified."""
    return verify_command(signed, trust=WORLD.trust, env=env, at=at).VERB


def rotate(author: str = "alice", by: str | None = None, **fields: Any) -> SignedCommand:
    return WORLD.signed(WORLD.command(Rotate, author, **fields), by)


def raw(payload: bytes, by: str = "alice", namespace: str = "rekey-cmd@v1") -> SignedCommand:
    """Any bytes, properly signed."""
    return SignedCommand(payload=b64u_encode(payload), sshsig=sign(WORLD.people[by], payload, namespace))


def payload(**changes: Any) -> bytes:
    body = json.loads(payload_of(WORLD.command(Rotate, "alice")))
    return canonical_json({**body, **changes})


@pytest.mark.parametrize(
    ("signed", "verb"),
    [
        pytest.param(WORLD.register(), "register", id="an owner registers"),
        pytest.param(WORLD.rotate(), "rotate", id="an owner rotates"),
        pytest.param(WORLD.suspend(1), "suspend", id="a responder suspends a version"),
        pytest.param(WORLD.suspend(0), "suspend", id="a responder suspends a key"),
        pytest.param(WORLD.revoke(1), "revoke", id="a responder revokes"),
    ],
)
def test_who_may_do_what(signed: SignedCommand, verb: str) -> None:
    assert verify(signed) == verb


def test_every_verb_has_a_rule() -> None:
    assert set(RULES) == set(VERBS) == {command.VERB for command in COMMANDS}


@pytest.mark.parametrize(
    ("signed", "error", "expected"),
    [
        pytest.param(
            WORLD.register(author="rita"), AuthorityError, "is not owner", id="a responder registers"
        ),
        pytest.param(WORLD.rotate("rita"), AuthorityError, "is not owner", id="a responder rotates"),
        pytest.param(WORLD.suspend(1, "alice"), AuthorityError, "is not responder", id="an owner suspends"),
        pytest.param(WORLD.revoke(1, "alice"), AuthorityError, "is not responder", id="an owner revokes"),
        pytest.param(WORLD.rotate("adam"), AuthorityError, "is not owner", id="an auditor rotates"),
        pytest.param(WORLD.rotate("oliver"), AuthorityError, "is not owner", id="a trust officer rotates"),
        pytest.param(
            rotate("mallory", by="alice"),
            AuthorityError,
            "mallory is not in the trust",
            id="a stranger rotates",
        ),
        pytest.param(
            WORLD.rotate(key="billing-db"), NotInScopeError, "not in the scope of alice", id="another's key"
        ),
        pytest.param(rotate(by="otto"), SignatureError, "signature by alice", id="signed by another owner"),
        pytest.param(
            raw(payload(), namespace=TRUST_NAMESPACE),
            SignatureError,
            "namespace",
            id="signed for another purpose",
        ),
        pytest.param(
            SignedCommand(payload=WORLD.rotate().payload, sshsig=WORLD.rotate().sshsig),
            SignatureError,
            "signature",
            id="the signature of another command",
        ),
        pytest.param(
            SignedCommand(payload=WORLD.rotate().payload, sshsig=""),
            SignatureError,
            "expected",
            id="no signature",
        ),
        pytest.param(
            raw(payload(env="prod")), ForeignEnvironmentError, "for prod", id="of another environment"
        ),
        pytest.param(raw(payload() + b" "), SchemaError, "canonical", id="not canonical: a space"),
        pytest.param(
            raw(payload().replace(b'"nonce"', b'"n\\u006fnce"')),
            SchemaError,
            "canonical",
            id="not canonical: an escape",
        ),
        pytest.param(
            raw(payload().replace(b'{"author"', b'{"key":"x","author"')),
            SchemaError,
            "canonical",
            id="a name twice",
        ),
        pytest.param(raw(payload(surprise=1)), SchemaError, "surprise", id="an unknown field"),
        pytest.param(
            raw(payload(type="rekey.command.rotate.v2")), SchemaError, "command", id="another version"
        ),
        pytest.param(
            raw(payload(type="rekey.command.destroy.v1")), SchemaError, "command", id="an unknown verb"
        ),
        pytest.param(raw(payload(key="a.b")), SchemaError, "key", id="a key that is two tokens"),
        pytest.param(raw(payload(key="*")), SchemaError, "key", id="a key that is a wildcard"),
        pytest.param(
            raw(payload(issued_at="2026-11-24T03:00:00")), SchemaError, "issued_at", id="a time without zone"
        ),
        pytest.param(raw(payload(reason="")), SchemaError, "reason", id="no reason"),
        pytest.param(raw(b"[]"), SchemaError, "command", id="not an object"),
        pytest.param(raw(b"{"), SchemaError, "command", id="not JSON"),
        pytest.param(raw(b'{"reason":"\\ud800"}'), SchemaError, "command", id="half a character"),
        pytest.param(raw(b"[" * 5000), SchemaError, "command", id="deeply nested"),
        pytest.param(
            SignedCommand(payload="A", sshsig=""), SchemaError, "base64url", id="not base64url of bytes"
        ),
    ],
)
def test_a_command_is_refused(signed: SignedCommand, error: type[RekeyError], expected: str) -> None:
    with pytest.raises(error, match=expected):
        verify(signed)


FAR = datetime(1, 1, 1, tzinfo=UTC)
SKEW = timedelta(seconds=CLOCK_SKEW_S)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        pytest.param({}, NOW, id="in the moment it was issued"),
        pytest.param({}, NOW + TEN_MINUTES - TICK, id="in the last moment"),
        pytest.param({}, NOW - SKEW, id="by a clock that is a minute ahead"),
        pytest.param({"expires_at": NOW + TICK}, NOW, id="a very short one in time"),
    ],
)
def test_a_command_is_in_time(fields: dict[str, Any], at: datetime) -> None:
    assert verify(rotate(**fields), at) == "rotate"


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        pytest.param({}, NOW + TEN_MINUTES, id="an expired command is refused"),
        pytest.param({}, NOW - SKEW - TICK, id="a command from the future is refused"),
        pytest.param(
            {"expires_at": NOW + TEN_MINUTES + TICK}, NOW, id="a command that lives too long is refused"
        ),
        pytest.param({"expires_at": NOW}, NOW, id="a command that never lives is refused"),
        pytest.param({"expires_at": NOW - TICK}, NOW - TICK * 2, id="one that expires before it is issued"),
        pytest.param(
            {"issued_at": FAR, "expires_at": FAR + TICK}, NOW, id="one of the first year is refused, no crash"
        ),
        pytest.param(
            {
                "issued_at": datetime.max.replace(tzinfo=UTC) - TICK,
                "expires_at": datetime.max.replace(tzinfo=UTC),
            },
            NOW,
            id="one of the last year is refused, no crash",
        ),
    ],
)
def test_a_command_is_not_in_time(fields: dict[str, Any], at: datetime) -> None:
    with pytest.raises(ExpiredError):
        verify(rotate(**fields), at)


def test_another_environment_refuses_it() -> None:
    with pytest.raises(ForeignEnvironmentError, match="command for dev, expected prod"):
        verify(WORLD.rotate(), env="prod")


def test_the_id_is_the_hash_of_the_signed_bytes_and_of_nothing_else() -> None:
    command = WORLD.command(Suspend, "rita", version=1)
    assert command_id(WORLD.signed(command)) == sha256_hex(payload_of(command))
    assert command_id(WORLD.signed(command, "otto")) == sha256_hex(payload_of(command))


def test_two_commands_of_one_wish_have_two_ids() -> None:
    assert command_id(WORLD.rotate()) != command_id(WORLD.rotate())


def test_reading_gives_back_what_was_signed() -> None:
    command = WORLD.command(
        Register, "alice", key_class="application-data", purpose="rows, größer", dependents=("orders",)
    )
    signed = WORLD.signed(command)
    assert read_command(signed) == command
    assert b64u_decode(signed.payload) == payload_of(command)


def test_a_refusal_says_what_to_do_next() -> None:
    with pytest.raises(NotInScopeError) as refused:
        verify(WORLD.rotate(key="billing-db"))
    assert refused.value.hint == "scopes of alice: orders-*, token-*"
