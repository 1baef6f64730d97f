from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rekey.beliefs import Stopped, believe, believed_fact, believed_stops
from rekey.reconcile import plan
from rekey_core.commands import command_id
from rekey_core.contracts import Activated, Generated, Signed, SignedCommand, StoppedVersion, Suspend
from rekey_core.encoding import b64u_decode
from rekey_core.errors import MalformedError, ReplayedError
from rekey_core.jwk import public_jwk
from rekey_core.names import Algorithm, Release, Service
from tests.unit.facts import BASE, HOUR
from tests.unit.rekey.world import KEY, NOW, World
from tests.unit.world import ssh_key

W = World()
OTHER = World()  # the same names, other keys: everything that it signs is forged
ACTIVATED = W.signed(W.activated(2), Service.ROTATION_SCHEDULER)
GENERATED = W.signed(W.generated(2), Service.GENERATOR)


def test_a_true_notice_is_believed_whole() -> None:
    believed = believe(W.notice((1, 2), 2), W.trust)
    assert (believed.current, sorted(believed.versions), believed.doubts) == (2, [1, 2], ())
    assert sorted(believed.generated) == [1, 2]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param((), id="no activated at all"),
        pytest.param(
            (W.signed(W.activated(2), Service.DISTRIBUTOR),), id="activated signed by the distributor"
        ),
        pytest.param(
            (OTHER.signed(OTHER.activated(2), Service.ROTATION_SCHEDULER),),
            id="activated signed by a stranger",
        ),
        pytest.param(
            (W.signed(W.activated(1), Service.ROTATION_SCHEDULER),), id="activated of another version"
        ),
        pytest.param(
            (W.signed(W.activated(2, key="billing-db"), Service.ROTATION_SCHEDULER),),
            id="activated of another key",
        ),
        pytest.param(
            (ACTIVATED.model_copy(update={"signature": GENERATED.signature}),),
            id="a signature of something else",
        ),
        pytest.param(
            (GENERATED.model_copy(update={"type": ACTIVATED.type}),), id="generated renamed to activated"
        ),
        pytest.param(
            (ACTIVATED.model_copy(update={"type": "rekey.key.anything.v1"}),), id="a type that does not exist"
        ),
    ],
)
def test_current_needs_the_schedulers_activated(facts: tuple[Signed, ...]) -> None:
    believed = believe(W.notice((1, 2), 2, facts=facts), W.trust)
    assert believed.current is None
    assert believed.doubts


def test_generated_that_differs_from_the_notice_is_left_out() -> None:
    notice = W.notice((2,), facts=(GENERATED,))
    wrong = notice.model_copy(update={"versions": (notice.versions[0].model_copy(update={"key_id": 7}),)})
    believed = believe(wrong, W.trust)
    assert not believed.generated
    assert "expected dev/orders-db/2/7" in believed.doubts[0]


def test_the_generated_of_a_version_that_is_not_to_be_held_says_by_which_id_its_data_is_known() -> None:
    believed = believe(W.notice((1,), facts=(GENERATED,)), W.trust)
    assert (dict(believed.ids), believed.doubts) == ({2: 1002}, ())
    fact = W.generated(2, release=Release.NEVER)
    notice = W.notice((1,), facts=(W.signed(fact, Service.GENERATOR),), release=Release.NEVER)
    believed = believe(notice, W.trust)
    kid = public_jwk(fact.algorithm, b64u_decode(fact.spki or ""))["kid"]
    assert (dict(believed.ids), believed.doubts) == ({2: kid}, ())


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(OTHER.signed(OTHER.generated(2), Service.GENERATOR), id="signed by a stranger"),
        pytest.param(W.signed(W.generated(2), Service.DISTRIBUTOR), id="signed by the distributor"),
        pytest.param(W.signed(W.generated(2, key="billing-db"), Service.GENERATOR), id="of another key"),
        pytest.param(
            W.signed(W.generated(2, release=Release.NEVER), Service.GENERATOR), id="of another release"
        ),
        pytest.param(
            W.signed(W.generated(2).model_copy(update={"env": "prod"}), Service.GENERATOR),
            id="of another environment",
        ),
        pytest.param(
            W.signed(W.generated(2).model_copy(update={"algorithm": Algorithm.EC_P256}), Service.GENERATOR),
            id="of another algorithm",
        ),
    ],
)
def test_an_id_that_the_generator_did_not_sign_for_this_key_is_not_believed(fact: Signed) -> None:
    believed = believe(W.notice((1,), facts=(fact,)), W.trust)
    assert (dict(believed.generated), dict(believed.ids), len(believed.doubts)) == ({}, {}, 1)


def test_a_kid_is_that_of_the_public_key_that_generated_commits_to() -> None:
    fact = W.generated(2, release=Release.NEVER).model_copy(update={"commitment": "0" * 64})
    notice = W.notice((1,), facts=(W.signed(fact, Service.GENERATOR),), release=Release.NEVER)
    believed = believe(notice, W.trust)
    assert (dict(believed.ids), len(believed.doubts)) == ({}, 1)


def test_current_that_is_not_to_be_held_is_not_believed() -> None:
    believed = believe(W.notice((1,), 2, facts=(ACTIVATED,)), W.trust)
    assert believed.current is None


@pytest.mark.parametrize(
    ("entry", "version"),
    [
        pytest.param(W.stopped(2), 2, id="suspend of the version"),
        pytest.param(W.stopped(2, W.command(0)), 2, id="suspend of all, told of one version"),
        pytest.param(W.stopped(0, W.command(0)), 0, id="suspend of all, told of all"),
        pytest.param(W.stopped(2, W.command(2, verb="revoke")), 2, id="revoke of the version"),
        pytest.param(
            W.stopped(2, W.command(2, issued_at=NOW - timedelta(days=30))),
            2,
            id="a stop told long after it was accepted",
        ),
    ],
)
def test_a_responders_command_is_believed_whoever_relays_it(entry: StoppedVersion, version: int) -> None:
    stops, doubts = believed_stops((entry,), KEY, W.trust, NOW)
    assert doubts == ()
    assert [stop.version for stop in stops] == [version]
    assert stops[0].responder == "rita"
    assert "found on a laptop" in str(stops[0].error())


def _tampered(command: SignedCommand) -> SignedCommand:
    other = W.command(1)
    return command.model_copy(update={"payload": other.payload})


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(OTHER.command(2), id="signed by a stranger in her name"),
        pytest.param(W.command(2, author="alice"), id="an owner is no responder"),
        pytest.param(W.command(2, author="rita", signer="alice"), id="signed by another person"),
        pytest.param(W.command(2, key="billing-db"), id="about another key"),
        pytest.param(W.command(1), id="about another version"),
        pytest.param(W.command(2, env="prod"), id="made for another environment"),
        pytest.param(
            W.command(2, issued_at=NOW + timedelta(hours=1)), id="issued after the message was stored"
        ),
        pytest.param(_tampered(W.command(2)), id="other bytes than were signed"),
        pytest.param(SignedCommand(payload="e30", sshsig="nothing"), id="no signature"),
    ],
)
def test_a_stop_without_the_responders_word_is_not_believed(command: SignedCommand) -> None:
    true = W.stopped(3)
    stops, doubts = believed_stops((StoppedVersion(version=2, command=command), true), KEY, W.trust, NOW)
    assert [stop.version for stop in stops] == [3], "the true one beside it counts"
    assert len(doubts) == 1


def test_a_responder_whose_clock_is_behind_the_document_that_names_her_key_is_believed() -> None:
    """Her laptop is lost, officers name a new key, and at once she stops what it had; her clock is ten seconds late."""
    then, now = BASE.trust.since, BASE.trust.since + timedelta(hours=1)
    renewed = replace(BASE, people={**BASE.people, "rita": ssh_key()})
    document = BASE.next_trust("oliver", "olga", people=renewed.document().people)
    trust = BASE.trust.extended(document, since=now)
    late = BASE.command(
        Suspend, "rita", version=1, issued_at=now - timedelta(seconds=10), expires_at=now + HOUR / 30
    )
    entry = StoppedVersion(version=1, command=renewed.signed(late))
    by = command_id(entry.command)
    stopped = Stopped("orders-db", 1, "suspended", "rita", "a test", late.issued_at, by)
    assert believed_stops((entry,), "orders-db", trust, now + HOUR) == ((stopped,), ())
    assert believed_stops((entry,), "orders-db", BASE.trust, now + HOUR)[0] == (), (
        "who does not know the document yet"
    )
    by_the_lost_key = BASE.signed(late.model_copy(update={"issued_at": now}))
    assert (
        believed_stops((StoppedVersion(version=1, command=by_the_lost_key),), "orders-db", trust, now + HOUR)[
            0
        ]
        == ()
    )
    assert then < late.issued_at < trust.since


def test_a_command_about_one_version_does_not_stop_all() -> None:
    stops, doubts = believed_stops((W.stopped(0, W.command(2)),), KEY, W.trust, NOW)
    assert (stops, len(doubts)) == ((), 1)


@pytest.mark.parametrize("turn", [1, -1], ids=["suspended first", "compromised first"])
def test_compromised_outweighs_suspended(turn: int) -> None:
    entries = (W.stopped(2), W.stopped(2, W.command(2, verb="revoke")))[::turn]
    stops, _ = believed_stops(entries, KEY, W.trust, NOW)
    stop = plan(None, stops, held=(), current=None, stopped={}, lifts={}).stop
    assert stop[2].kind == "compromised"


def test_a_fact_in_an_answer_is_about_exactly_this_version() -> None:
    assert believed_fact(GENERATED, Generated, key=KEY, version=2, trust=W.trust).version == 2
    with pytest.raises(ReplayedError):
        believed_fact(GENERATED, Generated, key=KEY, version=1, trust=W.trust)
    with pytest.raises(ReplayedError):
        believed_fact(GENERATED, Activated, key=KEY, version=2, trust=W.trust)
    with pytest.raises(MalformedError):
        believed_fact(GENERATED, Generated, key=KEY, version=2, trust=OTHER.trust)


def test_a_notice_of_another_release_does_not_lend_its_generated() -> None:
    fact = W.signed(W.generated(1, release=Release.NEVER), Service.GENERATOR)
    believed = believe(W.notice((1,), facts=(fact,)), W.trust)
    assert not believed.generated
