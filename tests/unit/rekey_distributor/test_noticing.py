"""What a dependent is told: by the log, and before it by responders' commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest

from rekey_core.commands import command_id, read_command
from rekey_core.contracts import (
    MAX_DESTROYED_NAMED,
    MAX_NOTICE_BYTES,
    Destroyed,
    StoppedVersion,
    Suspend,
    Suspended,
)
from rekey_core.envelope import Stored, sign
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.versions import Versions
from rekey_distributor import granting, noticing
from rekey_distributor.emergencies import Emergencies
from tests.unit.facts import world
from tests.unit.rekey_distributor.key_states import (
    compromised,
    current,
    destroyed,
    scheduled,
    suspended,
)
from tests.unit.world import NOW, World

NONE: frozenset[int] = frozenset()


def emergency(w: World, version: int, at: datetime = NOW) -> tuple[Emergencies, StoppedVersion]:
    signed = w.suspend(version)
    command = read_command(signed)
    assert isinstance(command, Suspend)
    lane = Emergencies()
    lane.add(command, signed, at)
    return lane, StoppedVersion(version=version, command=signed)


def test_an_emergency_stops_before_any_fact_and_ends_with_the_fact() -> None:
    w = world(versions=2)
    lane, entry = emergency(w, 1)
    assert lane.denied(w.state()) == {1}
    assert granting.versions_to_prove(w.state(), lane.denied(w.state())) == (2,)
    w.add(w.fact(Suspended, 1, command_id(entry.command), command=entry.command))
    assert lane.open(w.state()) == ()
    assert lane.denied(w.state()) == NONE
    assert granting.versions_to_prove(w.state(), NONE) == (2,)


def test_an_emergency_on_the_key_denies_every_version() -> None:
    w = world(versions=2)
    lane, _ = emergency(w, 0)
    assert lane.denied(w.state()) == {1, 2}


@pytest.mark.parametrize(
    "version", [pytest.param(0, id="every version"), pytest.param(2, id="one not made yet")]
)
def test_a_command_that_never_becomes_a_fact_does_not_stop_later_versions(version: int) -> None:
    w = world(versions=1)
    w.suspended(1)
    lane, _ = emergency(w, version, NOW - timedelta(seconds=1))
    w.version(2)
    assert lane.denied(w.state()) == NONE
    assert granting.versions_to_prove(w.state(), lane.denied(w.state())) == (2,)
    assert [v.version for v in noticing.notice_for(w.state(), "orders", lane, NOW).versions] == [2]


def test_a_notice_says_what_should_be_and_carries_the_words_that_say_so() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert [(v.version, v.state) for v in notice.versions] == [(1, "active"), (2, "pre-activation")]
    assert (notice.current, notice.stopped, notice.as_of) == (1, (), w.log[-1].sequence)
    assert sorted(f.type for f in notice.facts) == [
        "rekey.key.activated.v1",
        "rekey.key.generated.v1",
        "rekey.key.generated.v1",
    ]


def test_a_notice_carries_the_responders_command_before_the_fact_is_there() -> None:
    w = world(versions=1)
    lane, entry = emergency(w, 1)
    notice = noticing.notice_for(w.state(), "orders", lane, NOW)
    assert (notice.current, notice.versions, notice.stopped) == (None, (), (entry,))
    assert [f.type for f in notice.facts] == ["rekey.key.generated.v1"], (
        "who starts later can say why it refuses"
    )


def test_old_versions_of_a_secret_key_cost_a_notice_no_facts() -> None:
    w = world(versions=3)
    w.deactivated(1)
    w.deactivated(2)
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert len(notice.versions) == 3
    assert len(notice.facts) == 2


def test_a_notice_that_differs_in_time_alone_is_not_written_again() -> None:
    w = world(versions=1)
    one = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    later = one.model_copy(update={"at": NOW.replace(hour=4), "as_of": one.as_of + 1})
    assert noticing.same_content(one, later)
    assert not noticing.same_content(one, one.model_copy(update={"current": None}))


def test_every_public_key_is_in_the_notice_of_a_never_key() -> None:
    w = world(versions=2, release="never")
    w.deactivated(1)
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert [f.type for f in notice.facts].count("rekey.key.generated.v1") == 2


@pytest.mark.parametrize("compromised_before", [False, True], ids=["destroyed", "destroyed-compromised"])
def test_a_notice_says_that_a_version_is_gone_in_the_generators_words(*, compromised_before: bool) -> None:
    w = world(versions=2)
    w.deactivated(1)
    if compromised_before:
        w.compromised(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=30))
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    found = w.state().versions[1]
    assert found.generated is not None
    assert found.destroyed is not None
    assert [v.version for v in notice.versions] == [2]
    assert notice.facts.count(found.destroyed.signed) == 1
    assert notice.facts.count(found.generated.signed) == 1  # by which key id its data is known


@pytest.mark.parametrize(
    ("state_of", "forgotten"),
    [
        pytest.param(current, [], id="an active version"),
        pytest.param(scheduled, [], id="a version that is to be destroyed"),
        pytest.param(suspended, ["ab" * 32], id="a suspended version"),
        pytest.param(compromised, ["ab" * 32], id="a compromised version"),
        pytest.param(destroyed, ["ab" * 32], id="a destroyed version"),
    ],
)
def test_blobs_and_handles_are_forgotten_of(
    state_of: Callable[[World], KeyState], forgotten: list[str]
) -> None:
    assert list(noticing.blobs_to_forget(state_of(world(versions=1)), Emergencies())) == forgotten


def test_an_emergency_has_its_version_forgotten_before_the_log_says_so() -> None:
    w = world(versions=1)
    lane, _ = emergency(w, 1)
    assert noticing.blobs_to_forget(w.state(), lane) == ("ab" * 32,)


def test_a_notice_names_the_newest_destroyed_versions_and_stays_small() -> None:
    count = MAX_DESTROYED_NAMED + 3
    w = world(versions=count + 1)
    state = w.state()
    versions = {n: replace(v, destroyed=_gone(w, n)) for n, v in state.versions.items() if n <= count}
    gone = replace(state, versions=reduce(Versions.put, versions.values(), state.versions))
    notice = noticing.notice_for(gone, "orders", Emergencies(), NOW)
    named = [fact for fact in notice.facts if fact.type == Destroyed.TYPE]
    assert named == [versions[n].destroyed.signed for n in range(4, count + 1)]  # type: ignore[union-attr]
    assert len(notice.model_dump_json()) < MAX_NOTICE_BYTES / 2


def _gone(w: World, version: int) -> Stored[Destroyed]:
    fact = w.fact(Destroyed, version, blob_digest="ab" * 32, epoch=1, tombstone=1, claimed=(), not_claimed=())
    assert isinstance(fact, Destroyed)
    return Stored(fact, version, NOW, "subject", sign(fact, w.services[Service.GENERATOR]))
