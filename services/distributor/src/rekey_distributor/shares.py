"""What one dependent may add to streams that all dependents share (decision 0088).

An instance is a key that its dependent endorses, so whoever has taken over one instance can be any number of them, and each
leaves a delivery in ``LIFECYCLE``, for ever, and a lease in ``LEASES``. A stream that is full stops everybody's rotations or
leases; a share that is used up stops one dependent's new instances alone.

A share is this process's: it fills again by time, and a new start gives it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Final

from rekey_core.errors import UnavailableError
from rekey_runtime.clock import boottime

DELIVERIES: Final = (
    500_000.0  # at once: 10,000 keys rotated for 50 instances; alone each has some 1.1 kB of 4 GiB
)
DELIVERIES_PER_S: Final = 2.0  # then 170,000 a day: 15 days until LIFECYCLE is at 80 %
LEASES: Final = 64.0 * 2**20  # bytes at once: 55,000 instances of a key each, 6,700 of fifty
LEASES_PER_S: Final = LEASES / 86_400  # leases are kept a day: an eighth of LEASES at most
FIRST_BYTES: Final = 1024  # what a lease without keys takes at most, headers included
KEY_BYTES: Final = 147  # what a key adds besides versions and its name, twice; each number at its longest
VERSION_BYTES: Final = 11  # what a version that is held adds: its digits and a comma


@dataclass
class _Left:
    amount: float
    at: float


@dataclass
class Share:
    """How much of something each dependent may still add: ``most`` at once, then ``per_s`` a second."""

    what: str
    most: float
    per_s: float
    now: Callable[[], float] = boottime
    _left: dict[str, _Left] = field(default_factory=dict)

    def take(self, dependent: str, amount: float) -> None:
        """Return if the dependent may add so much, which then counts, whatever becomes of it.

        Raises:
            UnavailableError: its share is used up for now; names the dependent.
        """
        now = self.now()
        left = self._left.setdefault(dependent, _Left(self.most, now))
        left.amount, left.at = min(self.most, left.amount + (now - left.at) * self.per_s), now
        if left.amount < amount:
            message = f"{dependent} has used up its share of {self.what}: {self.most:.0f} at once"
            hint = f"does {dependent} start new instances all the time? there is room again for {self.per_s:.0f} a second"
            raise UnavailableError(message, hint=hint)
        left.amount -= amount


def bytes_of(keys: Mapping[str, Sized]) -> int:
    """How many bytes at most the keys, each with the versions that are held of it, take in a lease."""
    return sum(2 * len(key) + KEY_BYTES + VERSION_BYTES * len(versions) for key, versions in keys.items())


def deliveries() -> Share:
    """First deliveries of versions to instances."""
    return Share("first deliveries", DELIVERIES, DELIVERIES_PER_S)


def leases() -> Share:
    """Bytes by which leases grow: those of new instances, and of instances that take on keys."""
    return Share("bytes of new leases", LEASES, LEASES_PER_S)
