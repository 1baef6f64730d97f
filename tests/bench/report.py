"""Figures for programs, one JSON object per line, and for people, one table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import IO

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Outcome, Subject

WIDTH = 160  # columns, also where nobody looks


def record(subject: Subject, outcome: Outcome) -> str:
    """One benchmark as a line of JSON."""
    return json.dumps(
        {
            "benchmark": subject.name,
            "item": subject.item,
            "ours": subject.ours,
            "raw": subject.raw,
            "unit": outcome.unit,
            "pairs": [[pair.ours, pair.raw] for pair in outcome.pairs],
            "ratio": {"median": outcome.ratio, "min": outcome.lowest, "max": outcome.highest},
            "target": subject.target.text,
            "verdict": subject.target.verdict(outcome.ratio),
            "ran": outcome.ran,
            "more": outcome.more,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),  # 1, 5, 15 minutes: how busy the machine was with others
        },
        ensure_ascii=False,
    )


def listing(subjects: Iterable[Subject]) -> str:
    """Name, target, and what is held against what."""
    return "".join(f"{s.name:20} {s.target.text:28} {s.ours}; raw: {s.raw}\n" for s in subjects)


def table(done: Sequence[tuple[Subject, Outcome]], out: IO[str]) -> None:
    """The table."""
    rows = Table("benchmark", "ours", "raw", "unit", "median ratio", "min … max", "target", "verdict", "ran")
    for subject, outcome in done:
        middle = sorted(outcome.pairs, key=lambda pair: pair.ratio)[len(outcome.pairs) // 2]
        rows.add_row(
            subject.name,
            f"{middle.ours:.4g}",
            f"{middle.raw:.4g}",
            outcome.unit,
            f"{outcome.ratio:.2f}",
            f"{outcome.lowest:.2f} … {outcome.highest:.2f}",
            subject.target.text,
            subject.target.verdict(outcome.ratio),
            outcome.ran + "".join(f"; {name}: {value:.4g}" for name, value in outcome.more.items()),
        )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console = Console(file=out, width=WIDTH)
    console.print(rows)
    console.print(f"{os.cpu_count()} processors, load {load} (1, 5, 15 minutes)")
