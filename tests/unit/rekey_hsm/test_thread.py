"""The one thread of the HSM: in order, one at a time, and who does not wait any more holds up nobody."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest

from rekey_hsm.thread import call_on_hsm_thread, on_hsm_thread


async def test_all_run_on_one_thread_in_the_order_in_which_they_were_made() -> None:
    ran: list[tuple[int, int]] = []

    def run(number: int) -> Callable[[], int]:
        def operation() -> int:
            ran.append((number, threading.get_ident()))
            return number

        return operation

    made = list(range(200))
    assert await asyncio.gather(*(on_hsm_thread(run(number)) for number in made)) == made
    assert [number for number, _ in ran] == made
    assert {thread for _, thread in ran} == {call_on_hsm_thread(threading.get_ident)}
    assert threading.get_ident() not in {thread for _, thread in ran}


async def test_an_error_is_for_who_asked_alone() -> None:
    def fails() -> None:
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        on_hsm_thread(lambda: 1), on_hsm_thread(fails), on_hsm_thread(lambda: 2), return_exceptions=True
    )
    assert [o if isinstance(o, int) else type(o) for o in outcomes] == [1, ZeroDivisionError, 2]


async def test_what_ends_an_iteration_is_an_error_like_others() -> None:
    """A future takes no StopIteration, and all that ended with it would wait for ever."""

    def ends() -> int:
        return next(iter(()))

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(on_hsm_thread(ends), on_hsm_thread(lambda: 2), return_exceptions=True)
    assert [o if isinstance(o, int) else type(o) for o in outcomes] == [RuntimeError, 2]


async def test_what_an_operation_held_that_raised_is_gone_when_its_error_is() -> None:
    """It may be secret: no cycle keeps it until a collector runs."""

    class Secret:
        pass

    def failing() -> tuple[Callable[[], None], weakref.ref[Secret]]:
        secret = Secret()

        def operation() -> None:
            raise ZeroDivisionError(secret)

        return operation, weakref.ref(secret)

    gc.disable()
    try:
        operation, held = failing()
        with suppress(ZeroDivisionError):
            await on_hsm_thread(operation)
        del operation
        await on_hsm_thread(lambda: None)  # the thread has turned to something else
        assert held() is None
    finally:
        gc.enable()


async def test_who_is_cancelled_waits_no_more_and_what_has_not_begun_never_begins() -> None:
    begun, go_on, ended, never = (threading.Event() for _ in range(4))

    def slow() -> None:
        begun.set()
        go_on.wait(60)
        ended.set()

    first, second = asyncio.create_task(on_hsm_thread(slow)), asyncio.create_task(on_hsm_thread(never.set))
    third = asyncio.create_task(on_hsm_thread(lambda: 3))
    assert await asyncio.to_thread(begun.wait, 60)
    for task in (first, second):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not ended.is_set()
    go_on.set()
    assert await third == 3
    assert (ended.is_set(), never.is_set()) == (True, False)


def test_a_loop_that_is_gone_while_something_runs_holds_up_no_other() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(60)

    async def leaves() -> None:
        task = asyncio.create_task(on_hsm_thread(slow))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()

    asyncio.run(leaves())
    go_on.set()

    async def asks() -> int:
        return await on_hsm_thread(lambda: 4)

    assert asyncio.run(asks()) == 4
    assert call_on_hsm_thread(lambda: 5) == 5
