"""Encryptions inside the HSM are counted before they happen, whoever asks for them."""

from __future__ import annotations

import asyncio

import pytest

from rekey_core.errors import ConflictError, UnavailableError
from rekey_distributor.permits import BLOCK, VERSIONS, Permits


class Budget:
    """So many messages, given in portions; ``busy``: others are first."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.asked: list[tuple[str, int]] = []
        self.busy = False

    async def allot(self, key: str, version: int, wanted: int) -> int:
        await asyncio.sleep(0)
        if self.busy:
            raise ConflictError("others took first")
        self.asked.append((key, version))
        given = min(wanted, self.messages)
        self.messages -= given
        return given


async def test_many_at_once_take_one_block() -> None:
    budget = Budget(10 * BLOCK)
    permits = Permits(budget.allot)
    await asyncio.gather(*(permits.take("root", 1) for _ in range(100)))
    assert budget.asked == [("root", 1)]
    await permits.take("root", 2)
    assert budget.asked == [("root", 1), ("root", 2)]


async def test_no_more_are_taken_than_were_given() -> None:
    permits = Permits(Budget(3).allot)
    for _ in range(3):
        await permits.take("root", 1)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="root@1: all") as caught:
            await permits.take("root", 1)
        assert caught.value.hint == "rekey key rotate root"


async def test_what_was_not_given_for_sure_is_not_used() -> None:
    budget = Budget(BLOCK)
    permits = Permits(budget.allot)
    budget.busy = True
    with pytest.raises(ConflictError):
        await permits.take("root", 1)
    budget.busy = False
    await permits.take("root", 1)


async def test_blocks_of_many_versions_are_bounded() -> None:
    budget = Budget(1 << 40)
    permits = Permits(budget.allot)
    for version in range(1, VERSIONS + 2):
        await permits.take("root", version)
    await permits.take("root", VERSIONS + 1)
    assert len(budget.asked) == VERSIONS + 1
    await permits.take("root", 1)
    assert len(budget.asked) == VERSIONS + 2
