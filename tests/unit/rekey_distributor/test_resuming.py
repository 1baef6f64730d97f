"""After a resume the distributor lets go: of what the log says is over, and of nothing else."""

from __future__ import annotations

import pytest

from rekey_core.commands import read_command
from rekey_core.contracts import Resumed, SignedCommand, Suspend
from rekey_core.errors import NotInstalledError
from rekey_distributor import granting
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.noticing import notice_for
from tests.unit.facts import resumed, stop, world
from tests.unit.world import NOW, World


def heard(lane: Emergencies, signed: SignedCommand) -> None:
    command = read_command(signed)
    assert isinstance(command, Suspend)
    lane.add(command, signed, NOW)


def suspended(w: World, lane: Emergencies) -> SignedCommand:
    """By the emergency lane, then by the log."""
    signed = w.suspend(1)
    heard(lane, signed)
    w.add(stop(w, signed, 1))
    return signed


def test_a_resumed_version_is_given_out_again_and_the_notice_says_by_whose_word() -> None:
    w, lane = world(versions=1), Emergencies()
    signed = suspended(w, lane)
    assert notice_for(w.state(), "orders", lane, NOW).versions == ()
    resumed(w, 1)
    again = Emergencies()  # as after a restart: every command that was ever accepted is known again
    heard(again, signed)
    for one in (lane, again):
        assert one.denied(w.state()) == frozenset()
        said = notice_for(w.state(), "orders", one, NOW)
        assert ([v.version for v in said.versions], said.current, said.stopped) == ([1], 1, ())
        assert [f.type for f in said.facts].count(Resumed.TYPE) == 1
        assert granting.check_release(w.state(), "orders", 1, one.denied(w.state())).model.version == 1


def test_a_suspension_that_no_fact_says_yet_outlasts_the_resume_of_another() -> None:
    w, lane = world(versions=1), Emergencies()
    suspended(w, lane)
    heard(lane, w.suspend(1))
    resumed(w, 1)
    said = notice_for(w.state(), "orders", lane, NOW)
    assert (said.versions, said.current, len(said.stopped)) == ((), None, 1)
    assert Resumed.TYPE not in [f.type for f in said.facts]


def test_however_often_it_is_suspended_the_notice_stays_small() -> None:
    w, lane = world(versions=1), Emergencies()
    for _ in range(9):
        suspended(w, lane)
    assert len(notice_for(w.state(), "orders", lane, NOW).stopped) == 2


def test_a_renewal_may_lack_what_was_resumed_since_the_lease_before() -> None:
    w = world(versions=1)
    w.suspended(1)
    before = w.log[-1].sequence
    resumed(w, 1)
    assert granting.may_be_proved_later(w.state(), 1, None, before)
    assert not granting.may_be_proved_later(w.state(), 1, None, w.log[-1].sequence)


def test_who_protects_with_what_came_back_deactivated_gets_one_lease_to_go_over() -> None:
    w = world(versions=1)
    w.suspended(1)
    w.version(2)
    before = w.log[-1].sequence
    resumed(w, 1)
    granting.check_protects(w.state(), 1, before)
    with pytest.raises(NotInstalledError, match="@1 is deactivated, expected to protect with version 2"):
        granting.check_protects(w.state(), 1, w.log[-1].sequence)
