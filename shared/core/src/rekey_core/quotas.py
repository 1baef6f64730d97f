"""How many messages may be protected under one version with random nonces, and who is given how many. Pure.

NIST SP 800-38D §8.3: at most 2^32 invocations with random 96-bit nonces under one key, over everybody who has it. A version
has half of that to give. What is given is given for good, used or not, whatever becomes of the instance that has it.
"""

from __future__ import annotations

from typing import Final

from rekey_core.names import Algorithm, Release

BUDGET: Final = 2**31  # messages per version, over all instances (DESIGN §7)
ROTATE_AT: Final = (
    BUDGET * 3 // 4
)  # given away: time for another version, while there is enough for the way there
LEAST: Final = (
    2**15
)  # what an instance asks for at first: 65,536 starts per version; a lease of 30 s at 1,000/s
MOST: Final = 2**23  # given at once: two leases of 30 s at 139,000/s; who is faster asks more often
AHEAD: Final = (
    2  # leases: an instance asks for as many messages as it needs in so many, and again at half of them
)


def has_budget(algorithm: Algorithm | None) -> bool:
    """Whether versions are protected with under random nonces, by whomever: then their messages are counted."""
    return algorithm is Algorithm.AES_256_GCM


def is_counted(algorithm: Algorithm | None, release: Release | None) -> bool:
    """Whether instances protect with such versions under random nonces; with what never leaves the HSM they do not."""
    return has_budget(algorithm) and release is not Release.NEVER


def portion(wanted: int, allotted: int) -> int:
    """How many of the messages wanted may still be given of a version of which ``allotted`` are given."""
    return max(0, min(wanted, MOST, BUDGET - allotted))


def ahead_of(rate: float, lease_s: float) -> int:
    """How many messages an instance should have before it that protects ``rate`` a second."""
    return min(max(LEAST, int(rate * lease_s * AHEAD)), MOST)


def next_total(total: int, left: int, ahead: int) -> int:
    """The total that an instance asks for which was given ``total``, has ``left`` of it and should have ``ahead``.

    ``total`` itself while it has enough for one lease, so that most renewals cost the budget nothing.
    """
    return total if left * AHEAD >= ahead else min(total - left + ahead, BUDGET)
