"""The benchmarks cover what was promised, and a target is judged as it is written. They run by tests/bench/run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.figures import TINY, Outcome, Pair, Target
from tests.bench.report import record
from tests.bench.subjects import SUBJECTS

PROMISED = {
    "sdk-encrypt": (0.60, None),
    "sdk-decrypt": (0.60, None),
    "create": (None, 2.0),
    "create-rate": (5.0, None),
    "mass-rekey": (0.80, None),
    "waves": (0.70, None),
    "release-50": (None, None),
    "catch-up": (None, 2.0),
    "idle-memory": (None, 1.6),
    "start": (None, 2.0),
    "growth-facts": (None, 1.25),
    "growth-versions": (None, 1.25),
    "growth-instances": (None, 1.25),
    "notices": (None, None),
    "growth-notices": (None, 1.25),
}


def test_every_promise_has_a_benchmark_with_its_target() -> None:
    assert {s.name: (s.target.at_least, s.target.at_most) for s in SUBJECTS} == PROMISED


@pytest.mark.parametrize(
    ("target", "ratio", "verdict"),
    [
        pytest.param(Target("≥ 60 %", at_least=0.6), 0.6, "met", id="at least, just"),
        pytest.param(Target("≥ 60 %", at_least=0.6), 0.59, "missed", id="at least, not quite"),
        pytest.param(Target("≤ 2 x", at_most=2.0), 2.0, "met", id="at most, just"),
        pytest.param(Target("≤ 2 x", at_most=2.0), 2.01, "missed", id="at most, a little more"),
        pytest.param(Target("told"), 100.0, "none", id="nothing is wanted"),
    ],
)
def test_a_ratio_is_held_against_its_target(target: Target, ratio: float, verdict: str) -> None:
    assert target.verdict(ratio) == verdict


def test_the_median_counts_and_min_and_max_are_told() -> None:
    outcome = Outcome((Pair(1, 1), Pair(9, 1), Pair(2, 1)), "ms", "three pairs")
    line = json.loads(record(SUBJECTS[0], outcome))
    assert line["ratio"] == {"median": 2, "min": 1, "max": 9}


@pytest.mark.parametrize("name", ["sdk-encrypt", "sdk-decrypt"])
def test_what_needs_no_server_runs(name: str, tmp_path: Path) -> None:
    [subject] = [s for s in SUBJECTS if s.name == name]
    assert subject.run(tmp_path, TINY).ratio > 0
