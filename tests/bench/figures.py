"""What is measured and what it must be: ratios of pairs that ran one after the other on the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

PAIRS: Final = 5  # the least whose median says something


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    pairs: int = PAIRS
    calls: int = 20_000  # of something that takes microseconds
    creations: int = 100  # keys made one after the other, in each half of a pair
    keys: int = 2_000  # keys of a mass re-key, over all pairs; the is 10,000
    waves: int = 8  # atomic batches in each half of a pair
    notices: int = 1_000  # keys of a dependent that catches up
    facts: int = 100_000  # in the stream of a system that has grown; the is 1,000,000
    versions: int = 1_000  # of one key; the is 5,000
    decisions: int = 50  # in each half of a pair
    dependents: int = 50
    instances: int = 500  # of those dependents
    noticed_keys: int = 20  # keys whose notices are written for every dependent in each half of a pair
    told_keys: int = 1_000  # keys whose notices stand beside those of the one that rotates


TINY: Final = Scale(
    pairs=1,
    calls=200,
    creations=2,
    keys=8,
    waves=1,
    notices=4,
    facts=2_000,
    versions=20,
    decisions=2,
    dependents=3,
    instances=6,
    noticed_keys=1,
    told_keys=8,
)


@dataclass(frozen=True)
class Target:
    """What the issue wants of a ratio; without a bound a figure is only told."""

    text: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, ratio: float) -> Literal["met", "missed", "none"]:
        """Whether the ratio is as wanted."""
        if self.at_least is None and self.at_most is None:
            return "none"
        is_low = self.at_least is not None and ratio < self.at_least
        is_high = self.at_most is not None and ratio > self.at_most
        return "missed" if is_low or is_high else "met"


@dataclass(frozen=True)
class Pair:
    """One measurement of ours and, right before or after it, one of what it is held against, in the same unit."""

    ours: float
    raw: float

    @property
    def ratio(self) -> float:
        """Ours in units of the other."""
        return self.ours / self.raw


@dataclass(frozen=True)
class Outcome:
    """The pairs, their unit, and what was run for each half."""

    pairs: tuple[Pair, ...]
    unit: str
    ran: str
    more: dict[str, float] = field(
        default_factory=dict
    )  # single figures beside the ratio; names carry the unit

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def lowest(self) -> float:
        """The lowest ratio."""
        return min(pair.ratio for pair in self.pairs)

    @property
    def highest(self) -> float:
        """The highest ratio."""
        return max(pair.ratio for pair in self.pairs)


@dataclass(frozen=True)
class Subject:
    """One benchmark. ``run`` gets a directory of its own."""

    name: str
    item: int  # of the issue
    ours: str
    raw: str
    target: Target
    run: Callable[[Path, Scale], Outcome]


def interleaved(pairs: int, ours: Callable[[], float], raw: Callable[[], float]) -> tuple[Pair, ...]:
    """Measure in pairs; who goes first changes, so that what grows or warms up favours nobody."""
    found = []
    for number in range(pairs):
        if number % 2:
            there = raw()
            found.append(Pair(ours(), there))
        else:
            here = ours()
            found.append(Pair(here, raw()))
    return tuple(found)


async def interleaved_async(
    pairs: int, ours: Callable[[int], Awaitable[float]], raw: Callable[[int], Awaitable[float]]
) -> tuple[Pair, ...]:
    """The same for coroutines, which are told the number of the pair."""
    found = []
    for number in range(pairs):
        if number % 2:
            there = await raw(number)
            found.append(Pair(await ours(number), there))
        else:
            here = await ours(number)
            found.append(Pair(here, await raw(number)))
    return tuple(found)
