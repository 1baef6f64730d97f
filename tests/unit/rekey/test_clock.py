"""The time that requests say: evenly, whoever moves the machine's clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rekey.clock import Clock
from rekey.requests import Requests
from rekey_core.contracts import LeaseAnswer, Request
from rekey_core.errors import ExpiredError, RefusedError, UnavailableError
from rekey_core.readers import check_age
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, NOW, World

W = World()
HOUR = timedelta(hours=1)


class Machine:
    """Its two clocks."""

    def __init__(self) -> None:
        self.wall = NOW
        self.boot = 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boot += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.boot)


@pytest.mark.parametrize("moved", [HOUR, -HOUR], ids=["forwards", "back"])
def test_a_clock_that_is_moved_changes_nothing(moved: timedelta) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += moved
    machine.pass_by(5)
    assert clock.now() == NOW + timedelta(seconds=5)


def test_a_clock_that_was_set_right_counts_when_it_is_taken_again() -> None:
    machine = Machine()
    machine.wall -= HOUR
    clock = machine.clock()
    assert not clock.take_again(), "it says the same"
    machine.wall = NOW
    assert clock.take_again()
    assert clock.now() == NOW


@pytest.mark.parametrize(
    ("off", "fresh"),
    [
        pytest.param(0, True, id="now"),
        pytest.param(60, True, id="a minute ago"),
        pytest.param(-60, True, id="a minute ahead"),
        pytest.param(61, False, id="more than a minute ago"),
        pytest.param(-61, False, id="more than a minute ahead"),
    ],
)
async def test_a_request_is_of_this_moment_or_refused(tmp_path: Path, off: int, fresh: bool) -> None:  # noqa: FBT001
    me = Instance(W, tmp_path, KEY)
    await me.trust.refresh()
    await me.requests.lease([KEY], await me.receipts.write())
    request = me.desk.requests[-1].model_copy(update={"sent_at": NOW - timedelta(seconds=off)})
    if fresh:
        check_age(request, NOW)
    else:
        with pytest.raises(ExpiredError, match="expected at most 60 s") as caught:
            check_age(request, NOW)
        assert "clocks" in (caught.value.hint or "")


async def test_an_instance_whose_clock_was_wrong_at_the_start_recovers_when_it_is_set_right(
    tmp_path: Path,
) -> None:
    machine, me = Machine(), Instance(W, tmp_path, KEY)
    machine.wall -= HOUR
    await me.trust.refresh()
    requests = Requests(me.desk, W.identity, me.trust, 1.0, machine.clock())

    def too_old(request: Request) -> RefusedError | None:
        try:
            check_age(request, NOW)
        except ExpiredError as error:
            return error
        return None

    me.desk.refuse = too_old
    receipt = await me.receipts.write()
    with pytest.raises(ExpiredError, match="3600 s ago"):
        await requests.lease([KEY], receipt)
    machine.wall = NOW
    with pytest.raises(UnavailableError, match="ask again"):
        await requests.lease([KEY], receipt)
    assert KEY in (await requests.lease([KEY], receipt)).keys


def test_what_gives_a_lease_says_no_time_of_day() -> None:
    schema = LeaseAnswer.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    assert [name for part in parts for name, one in part["properties"].items() if one.get("format")] == []
