"""What is stopped and what is lifted, by the contract's words alone: as the SDK believes it, and in whatever order it comes.

Messages are made by rekey's own code, the forged ones are those that the SDK's own tests refuse.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    TRUST_NAMESPACE,
    Cosignature,
    Notice,
    OfficerSignature,
    Person,
    Signed,
    SignedCommand,
    SignedTrust,
    Stop,
    TrustDocument,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.names import Role, Service
from rekey_core.signing import SigningKey
from rekey_core.sshsig import sign
from rekey_core.trust import issue, payload_of
from tests.system.plain_beliefs import Stops, Trust
from tests.unit.rekey.test_resumed import (
    COMPROMISED,
    EVERY,
    EVERY_AGAIN,
    FIRST,
    FORGED,
    OTHER,
    SECOND,
    W,
    notice,
    resume,
    resumed,
)
from tests.unit.rekey.world import ENV, KEY, NOW, ssh_key, ssh_public

LATER = NOW + timedelta(days=30)
TWO = W.notice((1, 2))  # by which two versions are known


def document(**changes: object) -> SignedTrust:
    """The second trust document."""
    second = TrustDocument.model_validate(
        W.trust.document.model_dump() | {"n": 2, "previous": W.trust.digest} | changes
    )
    sshsig = sign(W.people["oliver"], payload_of(second), TRUST_NAMESPACE)
    return issue(second, (OfficerSignature(person="oliver", sshsig=sshsig),))


def stopped(
    *messages: Notice | Stop, stored_at: datetime = NOW, second: SignedTrust | None = None
) -> tuple[set[int], int]:
    """The versions that are stopped after these, and how much of them was not believed."""
    trust, stops = Trust(W.genesis), Stops(ENV, KEY)
    for n, signed in enumerate((W.signed_trust, second)):
        if signed is not None:
            trust.extend(signed.model_dump(mode="json"), NOW + timedelta(days=n))
    doubts = [
        doubt
        for message in messages
        for doubt in stops.hear(message.model_dump(mode="json"), stored_at, trust)
    ]
    return stops.stopped, len(doubts)


def stop(*commands: SignedCommand, version: int = 1) -> Stop:
    return W.stop(*(W.stopped(version, command) for command in commands))


def lifted(*commands: SignedCommand) -> Notice:
    return notice(resumed(resume(*commands)))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param((), set(), id="nothing"),
        pytest.param((notice(),), set(), id="a notice of a version to hold"),
        pytest.param((stop(FIRST),), {1}, id="suspended, revocation says"),
        pytest.param((notice(stopped=(FIRST,)),), {1}, id="suspended, the distributor says"),
        pytest.param((stop(COMPROMISED),), {1}, id="compromised"),
        pytest.param((stop(FIRST), notice()), {1}, id="a notice that leaves the stop out lifts nothing"),
        pytest.param((stop(FIRST), lifted(FIRST)), set(), id="lifted"),
        pytest.param((stop(FIRST), notice(stopped=(FIRST,)), lifted(FIRST)), set(), id="both said it"),
        pytest.param((stop(FIRST), lifted(FIRST), stop(SECOND)), {1}, id="another suspension"),
        pytest.param((stop(FIRST, SECOND), lifted(FIRST)), {1}, id="one of two"),
        pytest.param((stop(FIRST, SECOND), lifted(FIRST, SECOND)), set(), id="two of two"),
        pytest.param((stop(FIRST, SECOND), lifted(FIRST), lifted(SECOND)), set(), id="one after the other"),
        pytest.param((stop(COMPROMISED), lifted(COMPROMISED)), {1}, id="compromised is for good"),
        pytest.param((stop(FIRST, COMPROMISED), lifted(FIRST)), {1}, id="compromised beside it"),
        pytest.param((stop(EVERY), lifted(EVERY)), set(), id="of the whole key, told of the version"),
        pytest.param((stop(EVERY, version=2), lifted(EVERY)), {2}, id="lifted of one version only"),
    ],
)
def test_what_is_stopped_is_what_was_heard_less_what_was_lifted_in_any_order(
    messages: tuple[Notice | Stop, ...], expected: set[int]
) -> None:
    for told in permutations(messages):
        assert stopped(*told, *told) == (expected, 0)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param((stop(EVERY, version=0),), {1, 2}, id="each version that is known"),
        pytest.param((stop(EVERY, version=0), lifted(EVERY)), {2}, id="lifted of one of them"),
        pytest.param((lifted(EVERY), stop(EVERY, EVERY_AGAIN, version=0)), {1, 2}, id="one of two"),
        pytest.param((stop(EVERY, version=0), W.notice((3,))), {1, 2}, id="no later version"),
    ],
)
def test_a_stop_of_all_is_one_of_each_version(
    messages: tuple[Notice | Stop, ...], expected: set[int]
) -> None:
    assert stopped(TWO, *messages) == (expected, 0)


@pytest.mark.parametrize("fact", [pytest.param(fact, id=name) for name, fact in FORGED.items()])
def test_nothing_else_lifts_a_suspension(fact: Signed) -> None:
    found, doubts = stopped(stop(FIRST), notice(fact))
    assert (found, doubts) == ({1}, 0 if fact is FORGED["it lifts another suspension"] else 1)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(W.command(1, author="alice"), id="an owner"),
        pytest.param(W.command(1, signer="alice"), id="another's signature"),
        pytest.param(OTHER.command(1), id="a stranger's signature"),
        pytest.param(W.command(1, key="billing-db"), id="another key"),
        pytest.param(W.command(2), id="another version"),
        pytest.param(W.command(1, env="prod"), id="another environment"),
        pytest.param(W.command(1, issued_at=NOW + timedelta(seconds=61)), id="the future"),
        pytest.param(resume(FIRST), id="a resume"),
        pytest.param(FIRST.model_copy(update={"cosignatures": resume(FIRST).cosignatures}), id="two people"),
    ],
)
def test_a_stop_without_a_responder_s_word_stops_nothing(command: SignedCommand) -> None:
    assert stopped(stop(command)) == (set(), 1)


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param({"payload": "{}"}, id="no base64url"),
        pytest.param({"payload": b64u_encode(b"{")}, id="no JSON"),
        pytest.param({"payload": b64u_encode(b"[]")}, id="no object"),
        pytest.param({"payload": b64u_encode(b"{}")}, id="an empty one"),
        pytest.param({"sshsig": "rita"}, id="no SSHSIG"),
        pytest.param({"sshsig": None}, id="none"),
    ],
)
def test_what_is_torn_stops_nothing_and_keeps_nothing_else_from_being_heard(torn: dict[str, object]) -> None:
    said = stop(FIRST, SECOND).model_dump(mode="json")
    said["stopped"][0]["command"] |= torn
    stops, trust = Stops(ENV, KEY), Trust(W.genesis)
    trust.extend(W.signed_trust.model_dump(mode="json"), NOW)
    assert len(list(stops.hear(said, NOW, trust))) == 1
    assert list(stops.hear(notice(resumed(resume(SECOND))).model_dump(mode="json"), NOW, trust)) == []
    assert stops.stopped == set(), "the second was heard, and lifted"


def person(name: str, **changes: object) -> dict[str, object]:
    people = W.trust.document.model_dump()["people"]
    return {"people": people | {name: people[name] | changes}}


@pytest.mark.parametrize("name", ["rita", "alice"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scopes": ("billing-*",)}, id="out of scope"),
        pytest.param({"roles": (Role.AUDITOR,)}, id="without the role"),
        pytest.param({"ssh_keys": W.trust.document.people["oliver"].ssh_keys}, id="with another key"),
    ],
)
def test_who_is_who_is_judged_as_of_the_command(name: str, changes: dict[str, object]) -> None:
    """The second document is in force a day after the first: what was said before counts, what is said later does not."""
    second = document(**person(name, **changes))
    suspended = stop(FIRST)
    before = notice(resumed(resume(FIRST)))
    assert stopped(suspended, before, stored_at=LATER, second=second) == (set(), 0)
    said: dict[str, Any] = {
        "issued_at": NOW + timedelta(days=2),
        "expires_at": NOW + timedelta(days=2, hours=1),
    }
    after = notice(resumed(resume(FIRST, **said)))
    assert stopped(suspended, after, stored_at=LATER) == (set(), 0)
    assert stopped(suspended, after, stored_at=LATER, second=second) == ({1}, 1)


@pytest.mark.parametrize(
    ("ends_h", "expected"),
    [
        pytest.param(23, {1}, id="after its end"),
        pytest.param(24, {1}, id="at its end"),
        pytest.param(25, set(), id="before its end"),
    ],
)
def test_who_comes_while_the_command_lives_counts(ends_h: int, expected: set[int]) -> None:
    """The log may have accepted it then."""
    carol, people = ssh_key(), W.trust.document.people
    known = Person(ssh_keys=(ssh_public(carol),), roles=(Role.OWNER,), scopes=("*",))
    until = NOW + timedelta(hours=ends_h)
    alone = resume(FIRST, other=None, issued_at=NOW + timedelta(hours=22), expires_at=until)
    sshsig = sign(carol, b64u_decode(alone.payload), COMMAND_NAMESPACE)
    both = alone.model_copy(update={"cosignatures": (Cosignature(person="carol", sshsig=sshsig),)})
    told = (stop(FIRST), notice(resumed(both)))
    second = document(people=people | {"carol": known})
    assert stopped(*told, stored_at=LATER, second=second) == (expected, len(expected))


@pytest.mark.parametrize(
    ("issued_h", "expected"),
    [pytest.param(22, set(), id="after its issue"), pytest.param(24, {1}, id="at its issue")],
)
def test_who_leaves_while_the_command_lives_counts(issued_h: int, expected: set[int]) -> None:
    issued = NOW + timedelta(hours=issued_h)
    said = resume(FIRST, issued_at=issued, expires_at=issued + timedelta(hours=3))
    second = document(**person("alice", roles=(Role.AUDITOR,)))
    told = (stop(FIRST), notice(resumed(said)))
    assert stopped(*told, stored_at=LATER, second=second) == (expected, len(expected))


@pytest.mark.parametrize(
    ("lives_s", "expected"),
    [
        pytest.param(4 * 3600, set(), id="four hours"),
        pytest.param(4 * 3600 + 1, {1}, id="longer"),
        pytest.param(0, {1}, id="no time"),
        pytest.param(-1, {1}, id="less than none"),
    ],
)
def test_how_long_a_resume_may_live(lives_s: int, expected: set[int]) -> None:
    said = resume(FIRST, expires_at=NOW + timedelta(seconds=lives_s))
    told = (stop(FIRST), notice(resumed(said)))
    assert stopped(*told, stored_at=LATER) == (expected, len(expected))


@pytest.mark.parametrize(("ahead_s", "expected"), [(60, set()), (61, {1})])
def test_how_far_the_author_s_clock_may_be_ahead(ahead_s: int, expected: set[int]) -> None:
    issued = NOW + timedelta(seconds=ahead_s)
    said = resume(FIRST, issued_at=issued, expires_at=issued + timedelta(hours=1))
    assert stopped(stop(FIRST), notice(resumed(said))) == (expected, len(expected))


def test_a_fact_that_is_older_than_its_author_s_key_still_counts() -> None:
    services = W.trust.document.model_dump()["services"]
    new = document(services=services | {Service.REVOCATION: (b64u_encode(SigningKey.generate().public_raw),)})
    assert stopped(stop(FIRST), lifted(FIRST), stored_at=LATER, second=new) == (set(), 0)
