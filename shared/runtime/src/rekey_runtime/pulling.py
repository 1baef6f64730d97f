"""Asks the bus for a durable's messages: one question on its way, for as many messages as hands are free (ADR-13 of NATS).

The client's own fetch of one message asks for each pair of hands, again whenever its time is over; its fetch of many hands
them over when all are there or the time is over. Here each comes to an inbox of ours as soon as the bus has it, and a
durable that has nothing costs one question in each ``fetch_wait_s`` (decision 0064). The bus keeps a question over a short
interruption of the connection, so each has a reply subject of its own: what is said of an older one asks for nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import nats.errors

from rekey_core.authority import Consumer
from rekey_runtime import wire

LATE_S: Final = 0.5  # so much later than it promised the bus may say that a question's time is over
PAUSE_S: Final = 0.25  # before the next question, when the bus could not take one
OVER: Final = (wire.NOT_FOUND, wire.BAD_REQUEST)  # nothing is there, the time is over: no trouble
NANOSECONDS: Final = 1_000_000_000


class Asking(Protocol):
    """What of a connection it takes: nats-py's client."""

    @property
    def is_connected(self) -> bool:
        """Whether a question would go out now."""

    async def publish(self, subject: str, payload: bytes, reply: str) -> None:
        """Send a question."""


class Pulling:
    """The questions for one durable over one connection.

    ``client``: the connection, as soon as it is there. ``wait_s``: how long a question waits at the bus.
    """

    def __init__(self, client: Callable[[], Asking], consumer: Consumer, hands: int, wait_s: float) -> None:
        self._prefix = f"_INBOX_{consumer.identity}.{uuid.uuid4().hex}"
        self.inbox = f"{self._prefix}.*"
        self._number = 0  # of the newest question
        self._client = client
        self._subject = f"{wire.API}.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._hands = hands
        self._wait_s = wait_s
        self._coming = 0  # messages that the question on its way may still bring
        self._in_hand = 0
        self._over_at = 0.0  # monotonic: then it brings no more, whatever was said
        self._pause = False
        self._look = asyncio.Event()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Around the handling of one message."""
        self._coming = max(0, self._coming - 1)
        self._in_hand += 1
        if not self._coming:
            self._look.set()
        try:
            yield
        finally:
            self._in_hand -= 1
            self._look.set()

    def told(self, status: str | None, subject: str) -> None:
        """The bus says that the question which it answers at ``subject`` is over; of an older one it changes nothing."""
        if subject != self._reply:
            return
        self._coming, self._pause = 0, status not in OVER
        self._look.set()

    def back(self) -> None:
        """The connection is there again: the bus may know nothing of a question from before."""
        self._coming = 0
        self._look.set()

    @property
    def _reply(self) -> str:
        return f"{self._prefix}.{self._number}"

    async def work(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            if self._pause:
                await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(0)  # those who end together are asked for together
            self._look.clear()
            self._pause = False
            free = self._hands - self._in_hand
            if free > 0 and not self._coming and self._client().is_connected:
                await self._ask(free)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._over_at - time.monotonic() if self._coming else None):
                    await self._look.wait()
                continue
            self._coming = 0

    async def _ask(self, count: int) -> None:
        self._number += 1
        question = {"batch": count, "expires": int(self._wait_s * NANOSECONDS)}
        self._coming, self._over_at = count, time.monotonic() + self._wait_s + LATE_S
        try:
            await self._client().publish(self._subject, json.dumps(question).encode(), self._reply)
        except nats.errors.Error:  # it is closing, or its buffer is full
            self._coming, self._pause = 0, True
            self._look.set()
