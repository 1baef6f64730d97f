"""Tasks that run beside the application, and its handlers, which must not be able to end them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rekey.cancellation import ended

E = TypeVar("E")
Handler = Callable[[E], Awaitable[None] | None]

_log = logging.getLogger(__name__)


class Background:
    """Keeps tasks until they are stopped. One that ends by itself has failed: ``broken`` is told."""

    def __init__(self, broken: Callable[[BaseException], None]) -> None:
        self._broken = broken
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run until stopped."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return self._keep(task)

    async def stop(self) -> None:
        """Cancel everything and wait for its end."""
        await ended(self._tasks)

    def tell(self, handlers: list[Handler[E]], event: E) -> None:
        """Call from the event loop: what a handler raises goes to the loop's exception handler, not into our work."""
        loop = asyncio.get_running_loop()
        for handler in handlers:
            loop.call_soon(self._call, handler, event)

    def _call(self, handler: Handler[E], event: E) -> None:
        result = handler(event)
        if inspect.iscoroutine(result):
            self._keep(asyncio.ensure_future(result))

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.critical("background work failed", exc_info=failure, extra={"event": "failed"})
            self.failures.append(failure)
            self._broken(failure)
