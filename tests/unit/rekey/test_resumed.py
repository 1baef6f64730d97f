"""A version that two people resumed is used again, by their word alone and whatever is lost, doubled or late."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import rekey
from rekey import VersionSuspendedError
from rekey.beliefs import believed_lifts
from rekey.versions import SecretVersion
from rekey_core.commands import command_id, cosigned, payload_of, sign_command
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    TRUST_NAMESPACE,
    Cosignature,
    MaterialRequest,
    Notice,
    OfficerSignature,
    Person,
    Resume,
    Resumed,
    Signed,
    SignedCommand,
    StoppedVersion,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import BusMessage
from rekey_core.errors import NotFoundError, RekeyError
from rekey_core.names import Role, Service
from rekey_core.sshsig import sign as ssh_sign
from rekey_core.trust import issue
from rekey_core.trust import payload_of as document_bytes
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.profile import runs_of
from tests.unit.rekey.world import ENV, KEY, NOW, POLICY, World, ssh_key, ssh_public

W = World()
OTHER = World()  # the same names, other keys: everything that it signs is forged
FIRST: Final = W.command(1)
SECOND: Final = W.command(1, issued_at=NOW + timedelta(seconds=-1))
COMPROMISED: Final = W.command(1, verb="revoke")
EVERY: Final = W.command(0)  # of the whole key
EVERY_AGAIN: Final = W.command(0, issued_at=NOW + timedelta(seconds=-1))
EVERY_COMPROMISED: Final = W.command(0, verb="revoke")
REVOCATION: Final = Service.REVOCATION


def resume(
    *lifts: SignedCommand, world: World = W, other: str | None = "alice", **said: Any
) -> SignedCommand:
    """Rita, and alice with her, lift these suspensions of version 1."""
    body = {
        "env": ENV,
        "key": KEY,
        "author": "rita",
        "nonce": "b" * 32,
        "author_seq": 2,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(seconds=300),
        "reason": "found again",
        "version": 1,
        "seen": 9,
        "lifts": tuple(sorted(map(command_id, lifts))),
    }
    command = Resume.model_validate(body | said)
    signed = sign_command(command, world.people["rita"])
    if other is None:
        return signed
    return cosigned(
        signed, ssh_sign(world.people[other], payload_of(command), COMMAND_NAMESPACE), world.trust
    )


def resumed(command: SignedCommand, *, by: Service = REVOCATION, world: World = W, **said: Any) -> Signed:
    """Revocation's word for it, or somebody else's."""
    body = {
        "id": uuid.uuid4(),
        "env": ENV,
        "key": KEY,
        "version": 1,
        "author": REVOCATION,
        "checked": 9,
        "cause": command_id(command),
        "policy": POLICY,
        "at": NOW,
        "command": command,
    }
    return world.signed(Resumed.model_validate(body | said), by)


def notice(*more: Signed, stopped: tuple[SignedCommand, ...] = (), as_of: int = 10) -> Notice:
    """Version 1 is to be held and current, unless it is stopped."""
    said = W.notice(() if stopped else (1,), None if stopped else 1, as_of=as_of)
    told = tuple(W.stopped(1, command) for command in stopped)
    generated = W.signed(W.generated(1), Service.GENERATOR)
    facts = (generated,) if stopped else said.facts
    return said.model_copy(update={"facts": (*facts, *more), "stopped": told})


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    return instance


def tell(me: Instance, said: Notice, *, stops: tuple[SignedCommand, ...] = (), sequence: int) -> None:
    """What the distributor says now, and what revocation's message has in it."""
    me.desk.put(W.stored(said, Service.DISTRIBUTOR, sequence=sequence))
    stop = W.stop(*(W.stopped(1, command) for command in stops))
    me.desk.put(W.stored(stop, REVOCATION, sequence=sequence))


def protects(me: Instance) -> bool:
    return me.key.view.current is not None


async def stopped(me: Instance) -> None:
    """It has the version and uses it, and then a responder suspends it."""
    tell(me, notice(), sequence=1)
    await me.worker.reconcile()
    assert protects(me)
    tell(me, notice(stopped=(FIRST,), as_of=11), stops=(FIRST,), sequence=2)
    await me.worker.reconcile()
    assert not protects(me)
    assert me.desk.receipts[-1].keys[KEY].refused == (1,)


async def test_it_is_fetched_anew_and_used_again_with_a_receipt_that_proves_it(me: Instance) -> None:
    await stopped(me)
    tell(me, notice(resumed(resume(FIRST)), as_of=12), sequence=3)
    await me.worker.reconcile()
    assert protects(me)
    held = me.desk.receipts[-1].keys[KEY]
    assert (held.protects, held.refused, held.stopped, sorted(held.proofs)) == (1, (), (), [1])
    assert me.key.find(1001) is me.key.view.current
    assert me.rotated == [], "no other version protects than before"


async def test_the_application_is_told_once_when_it_can_use_the_version_again(me: Instance) -> None:
    await stopped(me)
    me.desk.refuse = lambda r: NotFoundError("not yet") if isinstance(r, MaterialRequest) else None
    tell(me, notice(resumed(resume(FIRST)), as_of=12), sequence=3)
    with pytest.raises(RekeyError, match="not yet"):
        await me.worker.reconcile()
    assert me.resumed == [], "it is lifted, and of no use here before it is held"
    me.desk.refuse = lambda _: None
    for _ in range(2):
        await me.worker.reconcile()
    assert me.resumed == [(rekey.Resumed(KEY, 1), "it protects")]


async def test_revocations_message_may_be_an_old_one(me: Instance) -> None:
    await stopped(me)
    tell(me, notice(resumed(resume(FIRST)), as_of=12), stops=(FIRST,), sequence=3)
    await me.worker.reconcile()
    assert protects(me)


async def test_a_second_suspension_stops_it_whatever_comes_back_of_the_first_resume(me: Instance) -> None:
    await stopped(me)
    lifted = resumed(resume(FIRST))
    tell(me, notice(lifted, as_of=12), sequence=3)
    await me.worker.reconcile()
    for sequence, stops in ((4, (SECOND,)), (5, ()), (6, (FIRST, SECOND))):
        tell(me, notice(lifted, stopped=(SECOND,), as_of=13), stops=stops, sequence=sequence)
        await me.worker.reconcile()
        assert not protects(me)
    tell(me, notice(resumed(resume(FIRST, SECOND)), as_of=14), sequence=7)
    await me.worker.reconcile()
    assert protects(me)


async def test_who_missed_a_resume_and_a_stop_between_follows_the_last_resume(me: Instance) -> None:
    await stopped(me)
    tell(me, notice(resumed(resume(FIRST, SECOND)), as_of=20), sequence=3)
    await me.worker.reconcile()
    assert protects(me)


async def test_a_suspension_that_was_not_lifted_stops_from_either_message(me: Instance) -> None:
    await stopped(me)
    tell(me, notice(resumed(resume(FIRST)), as_of=12), stops=(SECOND,), sequence=3)
    await me.worker.reconcile()
    assert not protects(me)
    assert sorted(me.key.held) == []


async def test_a_notice_that_says_nothing_of_the_stop_lifts_none(me: Instance) -> None:
    await stopped(me)
    tell(me, notice(as_of=12), sequence=3)
    await me.worker.reconcile()
    assert not protects(me)
    with pytest.raises(VersionSuspendedError, match="found on a laptop") as raised:
        me.key.find(1001)
    assert "rekey resume orders-db@1" in (raised.value.hint or "")


async def test_what_was_compromised_meanwhile_stays_stopped(me: Instance) -> None:
    await stopped(me)
    lifts = resume(FIRST, COMPROMISED)
    tell(me, notice(resumed(lifts), as_of=12), stops=(COMPROMISED,), sequence=3)
    await me.worker.reconcile()
    assert not protects(me)
    assert me.key.stopped[1].kind == "compromised"


async def test_messages_that_were_protected_before_the_stop_count_after_it(me: Instance) -> None:
    tell(me, notice(), sequence=1)
    await me.worker.reconcile()
    before = me.key.held[1]
    assert isinstance(before, SecretVersion)
    before.quota.extend(1000)
    for _ in range(10):
        before.quota.take()
    await stopped(me)
    tell(me, notice(resumed(resume(FIRST)), as_of=12), sequence=3)
    await me.worker.reconcile()
    after = me.key.held[1]
    assert isinstance(after, SecretVersion)
    assert after is not before
    assert (after.quota.total, after.quota.left) == (before.quota.total, before.quota.left)


def tell_of_all(me: Instance, said: Notice, *stops: StoppedVersion, sequence: int) -> None:
    """Revocation tells of the whole key, as version 0: honest services name each version, a taken-over one need not."""
    me.desk.put(W.stored(said, Service.DISTRIBUTOR, sequence=sequence))
    me.desk.put(W.stored(W.stop(*stops), REVOCATION, sequence=sequence))


@pytest.mark.parametrize(
    ("stops", "lifts"),
    [
        pytest.param((W.stopped(0, EVERY),), (EVERY,), id="one of the whole key"),
        pytest.param(
            (W.stopped(0, EVERY), W.stopped(0, EVERY_AGAIN)), (EVERY, EVERY_AGAIN), id="two of them"
        ),
        pytest.param((W.stopped(0, EVERY), W.stopped(1, FIRST)), (EVERY, FIRST), id="and one of the version"),
        pytest.param((W.stopped(0, EVERY), W.stopped(1, EVERY)), (EVERY,), id="told of the version too"),
    ],
)
async def test_what_is_lifted_of_a_version_stops_it_no_more_told_of_the_whole_key_either(
    me: Instance, stops: tuple[StoppedVersion, ...], lifts: tuple[SignedCommand, ...]
) -> None:
    tell(me, notice(), sequence=1)
    await me.worker.reconcile()
    tell_of_all(me, notice(as_of=11), *stops, sequence=2)
    await me.worker.reconcile()
    assert not protects(me)
    assert [event.version for event in me.stopped] == [1], "the version that it is, never 0"
    for sequence in (3, 4):  # at once, and when what was lifted is told again
        tell_of_all(me, notice(resumed(resume(*lifts)), as_of=12), *stops, sequence=sequence)
        await me.worker.reconcile()
        assert protects(me)


@pytest.mark.parametrize("turn", [1, -1], ids=["the lifted one first", "the lifted one last"])
@pytest.mark.parametrize(
    ("told", "kind"),
    [
        pytest.param(
            (W.stopped(0, EVERY), W.stopped(0, EVERY_AGAIN)), "suspended", id="another of the whole key"
        ),
        pytest.param((W.stopped(0, EVERY), W.stopped(1, SECOND)), "suspended", id="another of the version"),
        pytest.param((W.stopped(1, EVERY), W.stopped(0, EVERY_AGAIN)), "suspended", id="told of the version"),
        pytest.param(
            (W.stopped(0, EVERY), W.stopped(1, COMPROMISED)), "compromised", id="compromised beside it"
        ),
        pytest.param(
            (W.stopped(1, EVERY), W.stopped(0, EVERY_COMPROMISED)), "compromised", id="all compromised"
        ),
    ],
)
@pytest.mark.parametrize("way", ["stop", "notice", "both"])
async def test_what_nobody_lifted_stops_it_beside_what_is_lifted_of_the_whole_key(
    me: Instance, told: tuple[StoppedVersion, ...], kind: str, turn: int, way: str
) -> None:
    tell(me, notice(), sequence=1)
    await me.worker.reconcile()
    in_notice, in_stop = {"stop": ((), told), "notice": (told, ()), "both": (told[:1], told[1:])}[way]
    said = notice(resumed(resume(EVERY)), as_of=12).model_copy(update={"stopped": in_notice[::turn]})
    for sequence in (2, 3):
        tell_of_all(me, said, *in_stop[::turn], sequence=sequence)
        await me.worker.reconcile()
        assert not protects(me)
        assert me.key.stopped[1].kind == kind


async def test_all_compromised_is_no_less_for_a_version_that_was_suspended(me: Instance) -> None:
    await stopped(me)
    tell_of_all(me, notice(stopped=(FIRST,), as_of=12), W.stopped(0, EVERY_COMPROMISED), sequence=3)
    await me.worker.heed()
    assert me.key.stopped[1].kind == "compromised"
    tell_of_all(me, notice(resumed(resume(FIRST)), as_of=13), sequence=4)
    await me.worker.reconcile()
    assert not protects(me)


async def test_what_a_notice_lifts_is_verified_once_however_often_it_is_looked_at(me: Instance) -> None:
    await stopped(me)
    with runs_of(believed_lifts) as runs:
        tell(me, notice(resumed(resume(FIRST)), as_of=12), sequence=3)
        for _ in range(3):
            await me.worker.reconcile()
        assert len(runs) == 1
        tell(me, notice(resumed(resume(FIRST)), as_of=13), sequence=4)
        await me.worker.reconcile()
    assert len(runs) == 2, "another notice"


async def test_a_resume_by_somebody_whom_a_new_trust_document_names_counts_once_it_is_there(
    me: Instance,
) -> None:
    await stopped(me)
    carol = ssh_key()
    person = Person(ssh_keys=(ssh_public(carol),), roles=(Role.RESPONDER,), scopes=("*",))
    people = {**W.trust.document.people, "carol": person}
    document = W.trust.document.model_copy(update={"n": 2, "previous": W.trust.digest, "people": people})
    officer = ssh_sign(W.people["oliver"], document_bytes(document), TRUST_NAMESPACE)
    alone = resume(FIRST, other=None)
    carols = ssh_sign(carol, b64u_decode(alone.payload), COMMAND_NAMESPACE)
    both = alone.model_copy(update={"cosignatures": (Cosignature(person="carol", sshsig=carols),)})
    tell(me, notice(resumed(both), as_of=12), sequence=3)
    await me.worker.reconcile()
    assert not protects(me)
    signed = issue(document, (OfficerSignature(person="oliver", sshsig=officer),))
    me.desk.put(BusMessage("TRUST", "trust.dev.2", {}, signed.model_dump_json().encode(), 2, NOW))
    await me.worker.reconcile()
    assert protects(me)


FORGED = {
    "nobody but rita signed": resumed(resume(FIRST, other=None)),
    "rita signed twice": resumed(resume(FIRST, other="rita")),
    "strangers signed in their names": resumed(resume(FIRST, world=OTHER)),
    "it is a command to suspend": resumed(FIRST),
    "the command is about another version": resumed(resume(FIRST, version=2)),
    "the command is about another key": resumed(resume(FIRST, key="billing-db")),
    "the fact is about another version": resumed(resume(FIRST), version=2),
    "the fact names another cause": resumed(resume(FIRST), cause="another"),
    "the distributor says it": resumed(resume(FIRST), by=Service.DISTRIBUTOR),
    "a stranger says it": resumed(resume(FIRST), world=OTHER),
    "it lifts another suspension": resumed(resume(SECOND)),
}


@pytest.mark.parametrize("fact", [pytest.param(fact, id=name) for name, fact in FORGED.items()])
async def test_nothing_else_lifts_a_suspension(me: Instance, fact: Signed) -> None:
    await stopped(me)
    tell(me, notice(fact, as_of=12), sequence=3)
    await me.worker.reconcile()
    assert not protects(me)


def test_a_forged_resume_beside_a_true_one_is_named_and_left_out() -> None:
    forged, true = FORGED["nobody but rita signed"], resumed(resume(FIRST))
    lifts, doubts = believed_lifts(notice(forged, true), W.trust, NOW)
    assert lifts == {1: frozenset({command_id(FIRST)})}
    assert len(doubts) == 1
    assert "expected 2 people" in doubts[0]
