"""A read that is behind the leader is no answer to the question who has a lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage
from rekey_core.errors import StaleReadError
from rekey_runtime.leases import all_leases

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@dataclass
class Replicas:
    """A leader, and the follower that answers direct reads: it has everything up to ``follows``."""

    stored: Mapping[str, int]  # subject: sequence
    follows: int

    async def read_many(self, stream: Stream, filters: Sequence[str]) -> list[BusMessage]:
        """What the follower has."""
        found = [self._message(subject) for one in filters for subject in self._matching(stream, one)]
        return sorted((m for m in found if m.sequence <= self.follows), key=lambda m: m.sequence)

    async def last(self, stream: Stream, subject_filter: str) -> BusMessage | None:
        """What the leader has."""
        found = [self._message(subject) for subject in self._matching(stream, subject_filter)]
        return max(found, key=lambda m: m.sequence, default=None)

    def _matching(self, stream: Stream, subject_filter: str) -> list[str]:
        assert stream is Stream.LEASES
        return [subject for subject in self.stored if fnmatchcase(subject, subject_filter)]

    def _message(self, subject: str) -> BusMessage:
        return BusMessage(Stream.LEASES, subject, {}, b"", sequence=self.stored[subject], stored_at=NOW)


LEASES = {"lse.dev.orders.a": 3, "lse.dev.billing.b": 5, "lse.dev.shop.c": 9}


async def test_every_lease_of_these_dependents_is_read() -> None:
    found = await all_leases(Replicas(LEASES, follows=5), "dev", ["billing", "orders"])
    assert [message.subject for message in found] == ["lse.dev.orders.a", "lse.dev.billing.b"]


@pytest.mark.parametrize(
    ("dependents", "follows"),
    [
        pytest.param(["orders", "billing"], 4, id="the newest lease is missing"),
        pytest.param(["orders"], 0, id="the only one is missing"),
    ],
)
async def test_a_read_behind_the_leader_is_refused(dependents: list[str], follows: int) -> None:
    with pytest.raises(StaleReadError, match=f"read up to {3 if follows else 0}, the leader has"):
        await all_leases(Replicas(LEASES, follows), "dev", dependents)


async def test_nobody_has_a_lease() -> None:
    assert await all_leases(Replicas({}, follows=0), "dev", ["orders"]) == []
