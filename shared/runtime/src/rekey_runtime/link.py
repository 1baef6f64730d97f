"""One connection to the bus: who we are on it, what is under way on it, and how it ends without losing any of that."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import nats
import nats.errors
from faststream.nats import NatsBroker, NatsMessage
from faststream.nats.security import NatsSecurity
from faststream.nats.subscriber.usecases.core_subscriber import ConcurrentCoreSubscriber, CoreSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey_core.errors import UnavailableError
from rekey_runtime import wire
from rekey_runtime.settings import ServiceSettings

FLUSH_S: Final = 5
OVERLAP_S: Final = 0.25  # other nodes of a cluster hear of new subscriptions a moment later
LATE_S: Final = 0.25  # how long after a subscription's end was confirmed a message for it may come
RECONNECT_S: Final[Any] = 0.25  # the client takes a float, FastStream's annotation says int
OPEN_S: Final = 5  # the longest that a server may take to let a new certificate in
CLOSE_S: Final = 2.0  # how long a server may take to say good-bye
QUIET_S: Final = 0.01  # between two looks at what was taken off a subscription
QUIET_LOOKS: Final = 2  # in a row: a request that was taken begins a turn of the loop later


class Link:
    """A connection with one certificate. ``Bus`` has one, and for a moment two when the certificate is renewed."""

    def __init__(
        self,
        settings: ServiceSettings,
        tls: ssl.SSLContext,
        on_error: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._running: list[asyncio.Task[None]] = []
        self._on_return: list[Callable[[], None]] = []
        self.broker = NatsBroker(
            settings.bus_url.split(","),
            security=NatsSecurity(ssl_context=tls, tls_hostname=settings.server_name),
            name=f"rekey-{settings.service}",
            inbox_prefix=f"_INBOX_{settings.service}",
            js_options={"prefix": wire.API},
            max_reconnect_attempts=-1,  # anything else ends in a loop that freezes the process (notes: nats §0.6)
            reconnect_time_wait=RECONNECT_S,
            graceful_timeout=settings.drain_s,
            error_cb=on_error,
            reconnected_cb=self._returned,
            parser=_as_it_came,
            decoder=_whole,
            apply_types=False,  # handlers take the message as it came: there is nothing to inject or to convert
            serializer=None,
            logger=None,
        )

    @property
    def client(self) -> Client:
        """The NATS connection."""
        client: Client = self.broker.config.connection_state.connection
        return client

    @contextmanager
    def use(self) -> Iterator[Client]:
        """The NATS connection, which does not end before the block does."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield self.client
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def beside(self, job: Callable[[], Coroutine[Any, Any, None]], on_return: Callable[[], None]) -> None:
        """Run ``job`` from ``start`` until the connection is left; ``on_return`` each time that it is there again."""
        self._jobs.append(job)
        self._on_return.append(on_return)

    async def open(self) -> None:
        """Log in.

        Raises:
            UnavailableError: no server, or it does not know this certificate.
        """
        try:
            await self.broker.connect()
        except (OSError, nats.errors.Error) as error:
            raise UnavailableError(f"bus {self._settings.bus_url}: {error}") from error

    async def try_certificate(self) -> None:
        """Return if the server lets this certificate in; ``open`` would ask again for ever where it does not.

        Raises:
            UnavailableError: it does not, or there is none.
        """
        try:
            async with asyncio.timeout(OPEN_S):
                client = await nats.connect(
                    self._settings.bus_url.split(","),
                    tls=self._tls,
                    tls_hostname=self._settings.server_name,
                    allow_reconnect=False,
                    error_cb=_heard,
                )
                await client.close()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            said = str(error) or type(error).__name__
            raise UnavailableError(f"bus {self._settings.bus_url}: {said}") from error

    async def start(self) -> None:
        """Bind every subscription; the server knows them all when this returns.

        Raises:
            UnavailableError: the server went away meanwhile.
        """
        try:
            await self.broker.start()
            await self.client.flush(timeout=FLUSH_S)
            self._running = [asyncio.create_task(job()) for job in self._jobs]
        except nats.errors.Error as error:
            raise UnavailableError(f"bus {self._settings.bus_url}: {error}") from error

    async def _returned(self) -> None:
        for heard in self._on_return:
            heard()

    async def _end_jobs(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def leave(self) -> None:
        """Answer what came, finish what is being handled and close."""
        await self._end_jobs()
        if not self.broker.config.connection_state:
            return
        await self._within_drain(self._answered())
        await self._close()

    async def retire(self) -> None:
        """Leave to another connection of ours: what came here is answered here, what waits for an answer gets it."""
        await self._end_jobs()
        try:
            await asyncio.sleep(OVERLAP_S)
            await self._within_drain(self._finished())
        finally:
            await self._close()
            if not self.client.is_closed:  # it was away, and would try to come back for ever
                await self._end()

    async def _within_drain(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(nats.errors.Error, TimeoutError):  # it is gone, and what was on it with it
            async with asyncio.timeout(self._settings.drain_s):
                await work

    async def _finished(self) -> None:
        await self._answered()
        await self._idle.wait()

    async def _answered(self) -> None:
        """Every question that the server gave us, whatever it told of the subscription's end before."""
        served = [s for s in self.broker.subscribers if isinstance(s, CoreSubscriber)]
        if self.client.is_connected:
            await asyncio.gather(*(_left(subscriber, self.client) for subscriber in served))

    async def _close(self) -> None:
        if not self.broker.config.connection_state:
            return
        await asyncio.gather(*(subscriber.stop() for subscriber in self.broker.subscribers))
        if not self.client.is_connected:  # nothing left to say; and the client's close fails on a backlog
            return
        with suppress(nats.errors.Error):
            await self.client.flush(timeout=FLUSH_S)
        await self._end()

    async def _end(self) -> None:
        """The client would wait for ever for a server that hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()


async def _left(subscriber: CoreSubscriber, client: Client) -> None:
    """Nothing new is sent to the subscription, and what was sent is in its handler or was in it.

    The client's own ``drain`` forgets the subscription as soon as the server has confirmed its end, and drops without a word
    what comes after that: nats-server chooses who gets a message on one thread and ends subscriptions on another.
    """
    subscription = subscriber.subscription
    if subscription is None:
        return
    await client._send_unsubscribe(subscription._id)  # noqa: SLF001 - see above
    await client.flush(timeout=FLUSH_S)
    await asyncio.sleep(LATE_S)
    subscriber.subscription = None  # ``drain`` ends it whatever happens, and twice is an error
    await subscription.drain()  # type: ignore[no-untyped-call]
    quiet = 0
    while quiet < QUIET_LOOKS:
        await asyncio.sleep(QUIET_S)
        quiet = quiet + 1 if _is_quiet(subscriber) else 0


def _is_quiet(subscriber: CoreSubscriber) -> bool:
    if not isinstance(subscriber, ConcurrentCoreSubscriber):
        return True
    waiting = subscriber.receive_stream.statistics().current_buffer_used
    return waiting == 0 and subscriber.limiter.value == subscriber.max_workers


async def _heard(_: Exception) -> None:
    """What the server says against a certificate is raised as well."""


async def _as_it_came(message: Msg) -> NatsMessage:
    """The message, not parsed: FastStream would take its identity from headers, and mark it as not to be acknowledged."""
    return NatsMessage(raw_message=message, body=message.data)


async def _whole(message: NatsMessage) -> NatsMessage:
    """The message, not decoded: FastStream would read it by its content type, and what is no JSON would never reach us."""
    return message
