"""Permits: exactly as many messages as were given, whoever takes them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rekey.errors import QuotaExhaustedError
from rekey.quota import BLOCK, Quota
from rekey_core.quotas import LEAST

WHERE = "orders-db@3"
THREADS = 8
LEASE_S = 30


def given(total: int) -> Quota:
    quota = Quota(WHERE)
    quota.extend(total)
    return quota


def drain(quota: Quota, limit: int = 10**6) -> int:
    """Take until it is refused; how many were taken."""
    for taken in range(limit):
        try:
            quota.take()
        except QuotaExhaustedError:
            return taken
    raise AssertionError(limit)


@pytest.mark.parametrize("total", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
def test_as_many_as_were_given_and_not_one_more(total: int) -> None:
    quota = given(total)
    assert quota.left == total
    assert drain(quota) == total
    assert drain(quota) == 0
    assert (quota.left, quota.total) == (0, total)


def test_what_is_refused_says_which_version_which_rule_and_what_to_do() -> None:
    quota = given(2)
    drain(quota)
    with pytest.raises(
        QuotaExhaustedError, match=r"orders-db@3: all 2 .*2147483648.*SP 800-38D §8\.3.*decrypt goes on"
    ) as caught:
        quota.take()
    assert "rekey key rotate orders-db" in (caught.value.hint or "")


def test_totals_that_come_twice_late_or_lower_give_nothing() -> None:
    quota = given(10)
    for total in (10, 4, 0, 10):
        quota.extend(total)
    assert (quota.total, quota.left) == (10, 10)
    quota.extend(12)
    assert drain(quota) == 12


def test_refused_calls_use_up_nothing_of_what_comes_later() -> None:
    quota = given(1)
    drain(quota)
    for _ in range(100):
        drain(quota)
    quota.extend(4)
    assert drain(quota) == 3


def test_threads_that_take_while_more_comes_take_exactly_what_was_given() -> None:
    quota = given(3 * BLOCK)
    start = threading.Barrier(THREADS + 1)

    def work() -> int:
        start.wait()
        return sum(drain(quota) for _ in range(200))

    with ThreadPoolExecutor(THREADS) as pool:
        taken = [pool.submit(work) for _ in range(THREADS)]
        start.wait()
        for total in range(3 * BLOCK, 40 * BLOCK, 333):
            quota.extend(total)
        sums = [one.result() for one in taken]
    assert sum(sums) + drain(quota) == quota.total


def test_it_hurries_once_each_time_that_some_came() -> None:
    hurried: list[int] = []
    quota = given(LEAST)
    quota.hurry = lambda: hurried.append(quota.total - 1)
    for _ in range(LEAST // 2):
        quota.take()
    assert hurried == []
    assert drain(quota) > 0
    for _ in range(10):
        drain(quota)
    quota.extend(LEAST)
    drain(quota)
    assert len(hurried) == 1
    quota.extend(2 * LEAST)
    drain(quota)
    assert len(hurried) == 2


def test_it_asks_for_what_it_needs_ahead_at_its_own_pace() -> None:
    quota = Quota(WHERE)
    assert quota.wanted(0.0, 0.0) == LEAST, "nothing is measured yet"
    quota.extend(LEAST)
    assert quota.wanted(10.0, LEASE_S) == LEAST, "nothing was used"
    drain(quota)
    assert quota.wanted(20.0, LEASE_S) == LEAST + 2 * 3 * LEAST, (
        "two leases of what was used in a third of one"
    )


def test_a_burst_is_not_taken_for_a_pace() -> None:
    quota = given(LEAST)
    quota.wanted(0.0, LEASE_S)
    drain(quota)
    assert quota.wanted(0.001, LEASE_S) == LEAST + 2 * 3 * LEAST


def test_with_the_next_version_it_goes_on_at_the_pace_of_the_one_before() -> None:
    quota = Quota(WHERE)
    quota.ahead = 5 * LEAST
    assert quota.wanted(0.0, LEASE_S) == 5 * LEAST
