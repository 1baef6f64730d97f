"""Encryptions inside the HSM under random nonces, counted as instances' are: taken from the version's budget in blocks.

A block is this process's alone; what a restart leaves of it is lost to the budget (``rekey_core.quotas``).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from rekey_core.errors import UnavailableError
from rekey_core.quotas import BUDGET, LEAST

BLOCK: Final = LEAST  # messages taken at once: 65,536 starts per version
VERSIONS: Final = 4096  # whose blocks are kept; what falls out is lost to their budgets

Slot = tuple[str, int]  # key, version


class Permits:
    """What is left of this process's blocks. ``allot`` takes from a version's budget and says how much it gave."""

    def __init__(self, allot: Callable[[str, int, int], Awaitable[int]]) -> None:
        self._allot = allot
        self._left: OrderedDict[Slot, int] = OrderedDict()
        self._turn = asyncio.Lock()

    async def take(self, key: str, version: int) -> None:
        """Return once one more message may be encrypted with the version.

        Raises:
            UnavailableError: its budget is used up.
            RetryableError: leaves as the ledger raises them.
        """
        slot = (key, version)
        async with self._turn:
            if self._left.get(slot, 0) == 0:
                self._left[slot] = await self._allot(key, version, BLOCK)
            if self._left[slot] == 0:
                message = f"{key}@{version}: all {BUDGET} messages under random nonces are given away"
                raise UnavailableError(message, hint=f"rekey key rotate {key}")
            self._left[slot] -= 1
            self._left.move_to_end(slot)
            if len(self._left) > VERSIONS:
                self._left.popitem(last=False)
