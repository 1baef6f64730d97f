"""One thread per process talks to PKCS#11.

python-pkcs11 calls ``C_Initialize(NULL)`` and releases the interpreter lock in every call; SoftHSM reads NULL
as "this application has one thread" and switches its own locks off. Two threads crash it within seconds.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="hsm")


async def on_hsm_thread(operation: Callable[[], T]) -> T:
    """Run the operation on the process's one HSM thread; calls run in the order in which they were made.

    A caller that is cancelled stops waiting; an operation that has begun runs to its end.
    """
    return await asyncio.get_running_loop().run_in_executor(_thread(), operation)


def call_on_hsm_thread(operation: Callable[[], T]) -> T:
    """The same for programs without an event loop (ceremony, enrolment)."""
    return _thread().submit(operation).result()
