from __future__ import annotations

import time

import pytest

from rekey.errors import LeaseExpiredError
from rekey.lease import LeaseClock, boottime


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> LeaseClock:
    return LeaseClock(clock)


def test_nothing_may_be_used_before_the_first_lease(lease: LeaseClock) -> None:
    assert not lease.is_valid
    with pytest.raises(LeaseExpiredError, match="key k: the lease is not there: none was given yet"):
        lease.check("k")


@pytest.mark.parametrize(
    ("passed", "valid", "renew_in"),
    [
        pytest.param(0, True, 10, id="at first"),
        pytest.param(10, True, 0, id="at a third it is to be renewed"),
        pytest.param(29.9, True, 0, id="just before the end"),
        pytest.param(30, False, 0, id="at the end"),
        pytest.param(3000, False, 0, id="after the machine slept"),
    ],
)
def test_it_counts_from_when_the_request_was_sent(
    clock: Clock, lease: LeaseClock, passed: float, *, valid: bool, renew_in: float
) -> None:
    lease.extend(sent=1000.0, duration_s=30)
    clock.now += passed
    assert lease.is_valid is valid
    assert lease.renew_in_s == pytest.approx(renew_in)


def test_an_answer_that_took_long_leaves_less(clock: Clock, lease: LeaseClock) -> None:
    clock.now = 1031.0
    lease.extend(sent=1000.0, duration_s=30)
    assert not lease.is_valid


def test_a_late_answer_to_an_older_request_does_not_shorten_it(lease: LeaseClock) -> None:
    lease.extend(sent=1000.0, duration_s=30)
    lease.extend(sent=990.0, duration_s=30)
    assert lease.until == 1030.0


def test_expired_says_since_when_why_and_what_to_do(clock: Clock, lease: LeaseClock) -> None:
    lease.extend(sent=1000.0, duration_s=30)
    lease.problem = "distributor does not answer"
    clock.now = 1040.0
    with pytest.raises(
        LeaseExpiredError, match=r"ran out at \d{4}-.*Z: distributor does not answer"
    ) as caught:
        lease.check("k")
    assert caught.value.hint


def test_what_was_ended_is_not_given_back(lease: LeaseClock) -> None:
    lease.end("the connection was closed")
    lease.extend(sent=1000.0, duration_s=30)
    with pytest.raises(LeaseExpiredError, match="the connection was closed"):
        lease.check("k")


def test_the_clock_moves_and_never_back() -> None:
    assert 0 < boottime() <= boottime()


def test_the_clock_counts_while_the_machine_sleeps_and_is_nobodys_to_set() -> None:
    assert boottime.args == (time.CLOCK_BOOTTIME,)
