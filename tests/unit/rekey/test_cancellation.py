"""A task that is cancelled ends, also when the cancellation meets an answer."""

from __future__ import annotations

import asyncio

import pytest

from rekey.background import Background
from rekey.cancellation import cancellable

LONG_S = 60


class Answers:
    """What nats-py waits for, and how: ``asyncio.wait_for`` a future."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[int]] = []

    async def next(self) -> int:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await asyncio.wait_for(self.waiting[-1], LONG_S)


async def test_closing_ends_work_whose_cancellation_meets_an_answer() -> None:
    answers = Answers()

    async def for_ever() -> None:
        while True:
            await answers.next()

    background = Background(lambda _: None)
    task = background.start(for_ever())
    await asyncio.sleep(0)
    answers.waiting[-1].set_result(1)
    async with asyncio.timeout(LONG_S / 2):
        await background.stop()
    assert task.cancelled()


@pytest.mark.parametrize(
    "come",
    [
        pytest.param(lambda answer: answer.set_result(1), id="an answer"),
        pytest.param(lambda answer: answer.set_exception(ValueError("no")), id="an error"),
    ],
)
async def test_a_cancellation_that_meets(come: object) -> None:
    answers = Answers()
    task = asyncio.create_task(cancellable(answers.next()))
    await asyncio.sleep(0)
    assert callable(come)
    come(answers.waiting[-1])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_cancellation_it_is_as_it_was() -> None:
    async def fails() -> None:
        raise ValueError("as it was")

    assert await cancellable(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(ValueError, match="as it was"):
        await cancellable(fails())


async def test_work_that_a_cancelled_task_still_does_is_not_cancelled_again() -> None:
    """Closing asks for the end of the lease after the application's task was cancelled."""
    left = []

    async def application() -> None:
        try:
            await asyncio.sleep(LONG_S)
        finally:
            left.append(await cancellable(asyncio.sleep(0, "left")))

    task = asyncio.create_task(application())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == ["left"]
