"""One thread per process talks to PKCS#11.

python-pkcs11 calls ``C_Initialize(NULL)`` and releases the interpreter lock in every call; SoftHSM reads NULL
as "this application has one thread" and switches its own locks off. Two threads crash it within seconds.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="hsm")


class _Line:
    """What one event loop has for the thread, and what the thread has for it.

    The thread is woken when there is something again, and takes all that comes meanwhile; the loop is woken for the first
    result that it does not know of, and takes all that came meanwhile. An executor wakes both for each operation, which
    took five times as long as this when many wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_at_work = False
        self._is_told = False

    def put(self, operation: Callable[[], T]) -> asyncio.Future[T]:
        """From the loop: run the operation when those before it have run."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((operation, outcome))
            begins, self._is_at_work = not self._is_at_work, True
        if begins:
            _thread().submit(self._work)
        return outcome

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_at_work = False
                    return
                operation, outcome = self._waiting.popleft()
            if not outcome.cancelled():  # else nobody waits for it, and it has not begun
                self._run(operation, outcome)
            del operation, outcome  # they may hold what is secret

    def _run(self, operation: Callable[[], Any], outcome: asyncio.Future[Any]) -> None:
        loop = outcome.get_loop()
        result: Any = None
        error: BaseException | None = None
        try:
            result = operation()
        except StopIteration as raised:  # which no future takes
            error = RuntimeError("an operation on the HSM thread raised StopIteration")
            error.__cause__ = raised
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is for who waits
            error = raised
        with self._lock:
            self._ended.append((outcome, result, error))
            tells, self._is_told = not self._is_told, True
        # an error holds this frame, which must hold neither it nor what the operation holds
        del operation, outcome, result, error
        if tells:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        with self._lock:
            ended, self._is_told = list(self._ended), False
            self._ended.clear()
        for outcome, result, error in ended:
            if outcome.done():  # who waited does not wait any more
                continue
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)


_LINES: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


async def on_hsm_thread(operation: Callable[[], T]) -> T:
    """Run the operation on the process's one HSM thread; calls run in the order in which they were made.

    A caller that is cancelled stops waiting; an operation that has begun runs to its end.
    """
    loop = asyncio.get_running_loop()
    line = _LINES.get(loop)
    if line is None:
        line = _LINES[loop] = _Line()
    return await line.put(operation)


def call_on_hsm_thread(operation: Callable[[], T]) -> T:
    """The same for programs without an event loop (ceremony, enrolment)."""
    return _thread().submit(operation).result()
