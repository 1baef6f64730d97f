"""Cancellation that is not lost when it meets an answer.

``asyncio.wait_for`` of Python 3.11, with which nats-py waits, returns an answer that is there already and forgets that its
task was cancelled meanwhile (bpo-37658). A task that works in a loop would then never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S: Final = 0.2  # what lost a cancellation gets another one


async def cancellable(awaited: Awaitable[T]) -> T:
    """The result of what is awaited.

    Raises:
        asyncio.CancelledError: the task was cancelled while it waited, whatever came of that.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await awaited
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel until they end: handlers of the application are among them, and wait with what they like."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
