"""The budget of messages of a version: who is counted, what is given, and what an instance asks for."""

from __future__ import annotations

import itertools
import random

import pytest

from rekey_core.names import Algorithm, Release
from rekey_core.quotas import AHEAD, BUDGET, LEAST, MOST, ROTATE_AT, ahead_of, is_counted, next_total, portion

LEASE_S = 30
RENEWAL_S = LEASE_S / 3
SP_800_38D_LIMIT = 2**32


def test_a_version_gives_half_of_what_the_standard_allows_and_rotates_before_it_is_used_up() -> None:
    assert BUDGET * 2 == SP_800_38D_LIMIT
    assert ROTATE_AT < BUDGET


@pytest.mark.parametrize(
    ("algorithm", "release", "counted"),
    [
        pytest.param(
            Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, True, id="AES-GCM that instances have"
        ),
        pytest.param(Algorithm.AES_256_GCM, Release.TRANSPORT_KEY, True, id="the same, of high volume"),
        pytest.param(Algorithm.AES_256_GCM, Release.NEVER, False, id="AES-GCM that only the HSM has"),
        pytest.param(Algorithm.EC_P256, Release.NEVER, False, id="a signing key"),
        pytest.param(None, None, False, id="a key that nobody registered"),
    ],
)
def test_who_is_counted(algorithm: Algorithm | None, release: Release | None, counted: bool) -> None:  # noqa: FBT001
    assert is_counted(algorithm, release) is counted


@pytest.mark.parametrize(
    ("wanted", "allotted", "given"),
    [
        pytest.param(LEAST, 0, LEAST, id="what was asked for"),
        pytest.param(BUDGET, 0, MOST, id="never everything at once"),
        pytest.param(LEAST, BUDGET - 5, 5, id="the rest"),
        pytest.param(LEAST, BUDGET, 0, id="nothing of nothing"),
        pytest.param(LEAST, BUDGET + 5, 0, id="nothing of less than nothing"),
        pytest.param(-5, 0, 0, id="nobody gives back"),
    ],
)
def test_what_is_given(wanted: int, allotted: int, given: int) -> None:
    assert portion(wanted, allotted) == given


def test_whatever_is_asked_for_the_sum_is_the_budget_and_not_one_more() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    allotted = 0
    for _ in range(10_000):
        allotted += portion(chance.randrange(1, BUDGET), allotted)
    assert allotted == BUDGET, seed


@pytest.mark.parametrize(
    ("rate", "ahead"),
    [
        pytest.param(0, LEAST, id="who does nothing"),
        pytest.param(200, LEAST, id="200 a second"),
        pytest.param(100_000, 6_000_000, id="100,000 a second"),
        pytest.param(10**9, MOST, id="faster than any process"),
    ],
)
def test_what_should_lie_ahead(rate: int, ahead: int) -> None:
    assert ahead_of(rate, LEASE_S) == ahead


@pytest.mark.parametrize("rate", [1, 200, 1_000, 100_000])
def test_an_instance_that_renews_with_its_lease_never_runs_out_even_if_the_bus_stays_away_for_one(
    rate: int,
) -> None:
    ahead = ahead_of(rate, LEASE_S)
    total = used = 0
    for _ in range(1000):
        total = next_total(total, total - used, ahead)
        assert total - used >= rate * LEASE_S
        used = int(used + rate * RENEWAL_S)
        assert total - used >= ahead // (2 * AHEAD), "nor does it hurry"


def test_a_small_instance_costs_the_budget_nothing_at_most_renewals() -> None:
    totals = [next_total(LEAST, left, LEAST) for left in range(LEAST, 0, -2000)]
    assert totals.count(LEAST) == pytest.approx(len(totals) / 2, abs=1)
    assert all(a <= b for a, b in itertools.pairwise(totals))


def test_nobody_asks_for_more_than_there_ever_was() -> None:
    assert next_total(BUDGET - 1, 0, LEAST) == BUDGET
