"""A consumer gets on when messages move while there are any and somebody asks while there are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rekey_runtime.progress import Progress, Sample

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LIMIT_S = 30.0
IDLE = Sample(pending=0, unacknowledged=0, waiting=8, delivered=10, floor=10)
BUSY = Sample(pending=5, unacknowledged=3, waiting=0, delivered=10, floor=7)


@pytest.mark.parametrize(
    ("first", "then", "problem"),
    [
        pytest.param(IDLE, IDLE, None, id="nothing to do, and somebody asks"),
        pytest.param(BUSY, replace(BUSY, floor=8), None, id="messages are acknowledged"),
        pytest.param(
            BUSY, replace(BUSY, delivered=11), None, id="newer messages are delivered beside one that waits"
        ),
        pytest.param(
            replace(BUSY, pending=0),
            replace(BUSY, pending=0),
            None,
            id="all are delivered, some are tried again",
        ),
        pytest.param(BUSY, BUSY, "5 messages wait, none was delivered or acknowledged", id="nothing moves"),
        pytest.param(
            replace(IDLE, pending=5), replace(IDLE, pending=5), "5 messages wait", id="nothing is delivered"
        ),
        pytest.param(
            replace(IDLE, waiting=0),
            replace(IDLE, waiting=0),
            "nobody asks",
            id="nothing to do, and nobody asks",
        ),
    ],
)
def test_progress_over_more_than_the_limit(first: Sample, then: Sample, problem: str | None) -> None:
    later = NOW + timedelta(seconds=LIMIT_S + 1)
    progress = Progress.begin(first, NOW).then(then, later)
    found = progress.problem(later, LIMIT_S)
    assert (found is None) is (problem is None)
    if found is not None and problem is not None:
        assert problem in found[0]
        assert found[1] == NOW, "since the last time that it was seen to get on"
    assert Progress.begin(first, later).then(then, later).problem(later, LIMIT_S) is None, (
        "not before the limit"
    )


def test_what_is_not_in_the_answer_counts_as_nothing() -> None:
    assert Sample.of({}) == Sample(0, 0, 0, 0, 0)
    info = {
        "num_pending": 1,
        "num_ack_pending": 2,
        "num_waiting": 3,
        "delivered": {"consumer_seq": 99, "stream_seq": 4},
        "ack_floor": {"consumer_seq": 99, "stream_seq": 5},
    }
    assert Sample.of(info) == Sample(1, 2, 3, 4, 5)
