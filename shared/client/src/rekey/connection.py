"""The bus as dependents and people see it: core requests, single messages by subject, appends. No NATS error leaves here."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey.cancellation import cancellable
from rekey.credentials import Login, read_credentials, servers, tls
from rekey.spans import trace_headers
from rekey_core.authority import Stream
from rekey_core.certificates import Certificate, Credentials, judge
from rekey_core.envelope import BusMessage, answer_status, direct_message
from rekey_core.errors import StaleReadError, UnavailableError, UnknownOutcomeError

API: Final = "JSC.API"  # how JetStream is imported from the account of the streams (DESIGN §4)
RECONNECT_S: Final = 0.25
CLOSE_S: Final = 2.0  # how long a server may take to say good-bye
_NOT_FOUND: Final = "404"

_log = logging.getLogger(__name__)


class _Line:
    """One connection to the bus, and what is under way on it."""

    def __init__(self) -> None:
        self.client = Client()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def use(self) -> Iterator[Client]:
        """The connection, which is not retired before the block ends."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield self.client
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def retire(self) -> None:
        """Close when whoever waits for an answer has it; each waits no longer than its own time."""
        try:
            await self._idle.wait()
        finally:
            await self.end()

    async def end(self) -> None:
        """Close. The client would wait for ever for a server that hangs, most of all in the middle of a handshake."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()


class Connection:
    """One connection that comes back by itself for as long as it is not closed."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._line = _Line()
        self._credentials: Credentials | None = None
        self._identity = ""
        self._last_error = "no answer"
        self._reconnected: list[Callable[[], None]] = []
        self._heard: list[tuple[str, Callable[[Msg], Awaitable[None]]]] = []

    async def open(self, within_s: float) -> None:
        """Log in.

        Raises:
            ConfigurationError: the certificate files, or the URL of the bus, cannot be used.
            UnavailableError: no server, or it does not know the certificate.
        """
        credentials = read_credentials(self._login)
        self._identity = judge(credentials, None).identity
        await self._connect(self._line, tls(credentials, self._login), within_s)
        self._credentials = credentials

    async def renew(self, within_s: float) -> Certificate | None:
        """Go on with what the certificate files hold now, if it is new; the connection before ends when it is idle.

        The new connection works before the old one is left, so whatever fails leaves everything as it was.

        Raises:
            ConfigurationError: it cannot be used; names the setting, expected and found.
            UnavailableError: the bus does not let it in, or is away.
        """
        credentials = read_credentials(self._login)
        if credentials == self._credentials:
            return None
        certificate = judge(credentials, datetime.now(UTC), identity=self._identity)
        line, before = _Line(), self._line
        await self._connect(line, tls(credentials, self._login), within_s)
        try:
            for subject, heard in self._heard:
                await line.client.subscribe(subject, cb=heard)
            await line.client.flush()
        except nats.errors.Error as error:
            await line.end()
            raise UnavailableError(f"bus {self._login.bus_url}: {error}") from error
        self._line, self._credentials = line, credentials
        await before.retire()
        return certificate

    async def _connect(self, line: _Line, context: ssl.SSLContext, within_s: float) -> None:
        nodes = servers(self._login.bus_url)
        try:
            async with asyncio.timeout(within_s):
                await line.client.connect(
                    nodes,
                    name=f"rekey-{self._login.name}",
                    tls=context,
                    tls_hostname=self._login.server_name,
                    inbox_prefix=f"_INBOX_{self._login.name}",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type]  # a float works, the annotation says int
                    error_cb=self._on_error,
                    reconnected_cb=self._on_reconnected,
                )
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await line.end()
            raise UnavailableError(
                f"bus {self._login.bus_url}: {self._last_error}",
                hint="is the bus running, and is the certificate of this environment?",
            ) from error

    async def close(self) -> None:
        """Leave. Nothing is sent after this."""
        await self._line.end()

    def on_reconnected(self, call: Callable[[], None]) -> None:
        """Call this each time that the connection is back."""
        self._reconnected.append(call)

    async def hear(self, subject: str, call: Callable[[str], None]) -> None:
        """Call with the subject of each message that is published there."""

        async def heard(message: Msg) -> None:
            call(message.subject)

        try:
            await self._line.client.subscribe(subject, cb=heard)
        except nats.errors.Error as error:
            raise UnavailableError(f"{subject}: {error}") from error
        self._heard.append((subject, heard))

    async def request(self, subject: str, data: bytes, within_s: float) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of the answer to a core request.

        Raises:
            UnavailableError: nobody answered in time.
        """
        headers = trace_headers() or None
        answer = await self._ask(subject, lambda bus: bus.request(subject, data, within_s, headers=headers))
        return answer.data, answer.headers or {}

    async def get(self, stream: Stream, subject: str, within_s: float) -> BusMessage | None:
        """The message on one subject, by the form of DIRECT.GET that the subject's own right covers.

        Raises:
            UnavailableError: nobody answered.
            StaleReadError: the answer does not say where the message stands.
        """
        place = f"{API}.DIRECT.GET.{stream}.{subject}"
        answer = await self._ask(place, lambda bus: _first_answer(bus, place, within_s))
        status = answer_status(answer.headers or {})
        if status == _NOT_FOUND:
            return None
        if status is not None:
            raise UnavailableError(f"read of {subject}: status {status}")
        message = direct_message(answer.headers or {}, answer.data, stream)
        if message.subject != subject:
            raise StaleReadError(f"read of {subject}: found {message.subject}")
        return message

    async def append(
        self, stream: Stream, subject: str, data: bytes, headers: Mapping[str, str], within_s: float
    ) -> int:
        """Store one message; its sequence.

        Raises:
            UnavailableError: the server refused it; nothing was stored.
            UnknownOutcomeError: no answer; it may be stored.
        """
        said = {**headers, "Nats-Expected-Stream": stream.value, **trace_headers()}
        try:
            with self._line.use() as client:
                answer = await cancellable(client.request(subject, data, within_s, headers=said))
        except nats.errors.NoRespondersError as error:
            raise UnavailableError(f"{subject}: the bus has no stream for it now") from error
        except nats.errors.Error as error:
            raise UnknownOutcomeError(f"{subject}: {str(error) or 'no acknowledgement'}") from error
        return _acknowledged(answer.data, subject)

    async def _ask(self, subject: str, question: Callable[[Client], Awaitable[Msg]]) -> Msg:
        if (
            not self._line.client.is_connected
        ):  # or it would be kept and sent when nobody waits for the answer any more
            raise UnavailableError(f"{subject}: not connected to the bus: {self._last_error}")
        try:
            with self._line.use() as client:
                return await cancellable(question(client))
        except nats.errors.Error as error:
            raise UnavailableError(f"{subject}: {str(error) or self._last_error}") from error

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        _log.warning("bus: %s", self._last_error, extra={"event": "bus-error"})

    async def _on_reconnected(self) -> None:
        for call in self._reconnected:
            call()


async def _first_answer(client: Client, subject: str, within_s: float) -> Msg:
    """The first message to an inbox of its own, whatever its author wrote into it.

    The client's own request takes a stored message with status 503 for the bus's word that nobody is there.
    """
    first: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox, future=first)
    try:
        await answers.unsubscribe(limit=1)
        await client.publish(subject, b"", reply=inbox)
        async with asyncio.timeout(within_s):
            return await first
    except TimeoutError as error:
        raise nats.errors.TimeoutError from error
    finally:
        if first.cancelled() or not first.done():
            with suppress(nats.errors.Error):  # the connection went away, with the subscription
                await answers.unsubscribe()


def _acknowledged(answer: bytes, subject: str) -> int:
    try:
        body = json.loads(answer)
        if "error" not in body:
            return int(body["seq"])
        raise UnavailableError(f"{subject}: {str(body['error'].get('description'))[:200]}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownOutcomeError(
            f"{subject}: the bus answered something else than an acknowledgement"
        ) from error
