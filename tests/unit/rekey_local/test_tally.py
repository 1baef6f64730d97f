"""Counts of instances add up over all of them and over restarts; histories become phases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rekey_core.contracts import HistoryEntry
from rekey_local.app import worker
from rekey_local.history import History
from rekey_local.tally import Count, InstanceReport, Tally

START = datetime(2025, 1, 1, tzinfo=UTC)


def line(
    name: str, pid: int, *, failed: int = 0, refused: int = 0, slowest_ms: float = 1.0
) -> dict[str, object]:
    """As the worker writes it."""
    calls = {
        "encrypt": {"done": 10, "failed": 0, "refused": 0, "slowest_ms": 1.0},
        "decrypt": {"done": 20, "failed": failed, "refused": refused, "slowest_ms": slowest_ms},
        "verify": {"done": 5, "failed": 0, "refused": 0, "slowest_ms": 1.0},
        "sign": {"done": 2, "failed": 0, "refused": 0, "slowest_ms": 9.0},
    }
    last = "decrypt: it broke" if failed else None
    return {
        "event": "counts",
        "name": name,
        "pid": pid,
        "calls": calls,
        "stopped": [],
        "first_refused": {},
        "last_failure": last,
    }


def test_reports_are_cumulative_so_the_newest_of_a_process_counts() -> None:
    tally = Tally()
    tally.take(line("orders-1", 1))
    tally.take(line("orders-1", 1))

    assert tally.totals().all_calls == 37


def test_a_restarted_instance_adds_to_what_it_did_before() -> None:
    tally = Tally()
    tally.take(line("orders-1", 1, failed=1))
    tally.take(line("orders-1", 2, slowest_ms=7))
    tally.take(line("billing-1", 3, refused=4))

    totals = tally.totals()

    assert (totals.all_calls, totals.failed, totals.failed_local, totals.refused) == (116, 1, 1, 4)
    assert totals.calls["decrypt"].slowest_ms == 7
    assert totals.processes == 3
    assert tally.failures() == {"orders-1": "decrypt: it broke"}
    assert tally.newest["orders-1"].pid == 2


def test_other_lines_are_not_counted() -> None:
    tally = Tally()
    tally.take({"event": "ready"})

    assert tally.totals().all_calls == 0


def test_counts_that_are_not_counts_are_an_error() -> None:
    with pytest.raises(ValueError, match="reported something else"):
        Tally().take({"event": "counts", "name": "orders-1"})


def entry(
    event: str, version: int, after_s: float, *, person: str | None = None, void: str | None = None
) -> HistoryEntry:
    """One fact."""
    return HistoryEntry(
        sequence=1,
        at=START + timedelta(seconds=after_s),
        version=version,
        event=event,
        author="rotation-scheduler",
        person=person,
        detail="",
        void=void,
    )


ROTATION = (
    entry("registered", 0, 0.0, person="alice"),
    entry("rotation-requested", 2, 1.0, person="alice"),
    entry("generated", 2, 1.25),
    entry("activated", 2, 1.3, void="signature"),
    entry("activated", 2, 1.75),
    entry("deactivated", 1, 2.5),
)


def test_a_rotation_has_a_time_for_each_phase_and_void_facts_are_none() -> None:
    history = History(ROTATION)

    assert [seconds for _, seconds in history.phases(2)] == [0.25, 0.5, 0.75]
    assert history.rotation_s(2) == 1.5
    assert history.newest_version == 2
    assert history.has("deactivated", 1)


def test_a_rotation_under_way_has_the_phases_so_far() -> None:
    assert [seconds for _, seconds in History(ROTATION[:3]).phases(2)] == [0.25]


def test_a_line_of_history_says_who_did_it_on_whose_word() -> None:
    lines = History(ROTATION).lines()

    assert lines[0] == "00:00:00.000  key  registered           rotation-scheduler on the word of alice"
    assert lines[2] == "00:00:01.250  v2   generated            rotation-scheduler"


def test_each_instance_asks_for_as_many_calls_as_the_story_promises() -> None:
    assert worker.LOCAL_PER_S >= 200
    assert worker.REMOTE_PER_S >= 20
    assert round(worker.LOCAL_PER_S * worker.TICK_S) / worker.TICK_S >= worker.LOCAL_PER_S


def test_a_rate_counts_whatever_was_asked_for() -> None:
    calls = {"encrypt": Count(done=7, failed=1, refused=2), "decrypt": Count(done=10), "sign": Count(done=99)}
    report = InstanceReport(name="orders-1", pid=1, calls=calls, worked_s=4.0)
    assert report.per_s(("encrypt", "decrypt")) == 5.0
