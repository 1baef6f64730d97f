"""One small HTTP server per process, on loopback: GET, one answer per connection, no bodies (RFC 9112).

It says whether the service lives, is ready and how it does; the distributor adds public keys. It takes nothing in.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from rekey_core.errors import ConfigurationError

MAX_REQUEST_BYTES: Final = 8192  # request line and headers
REQUEST_S: Final = 5.0  # from the connection to the end of the headers, and again for the answer
MAX_CONNECTIONS: Final = 64  # more are closed at once: probes come back

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Response:
    """What a path answers. ``max_age_s``: how long a cache may keep it; 0: not at all."""

    status: HTTPStatus
    content_type: str
    body: bytes
    max_age_s: int = 0


Route = Callable[[str], Awaitable[Response | None]]  # by path; none: not one of mine


def json_response(status: HTTPStatus, body: object) -> Response:
    """An answer in JSON."""
    return Response(status, "application/json", json.dumps(body).encode() + b"\n")


NOT_FOUND: Final = json_response(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
MALFORMED: Final = json_response(
    HTTPStatus.BAD_REQUEST, {"error": "expected an HTTP/1 request without a body"}
)


class HttpServer:
    """Asks each route in turn; the first that knows the path answers."""

    def __init__(self, host: str, port: int, routes: Sequence[Route]) -> None:
        self._host, self._port, self._routes = host, port, routes
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def port(self) -> int:
        """The TCP port; the one that was chosen, if settings say 0."""
        assert self._server is not None, "not started"  # noqa: S101 - a misuse by our own code
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(
                self._on_connection, self._host, self._port, limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            raise ConfigurationError(
                f"http {self._host}:{self._port}: {error.strerror or error}",
                hint="choose another http_port in the service's settings",
            ) from error

    async def close(self) -> None:
        """Stop listening; answers that are under way end by themselves."""
        if self._server is not None:
            self._server.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_S):
                    response = await self._response(reader)
                    writer.write(_bytes(response))
                    await writer.drain()
        except (TimeoutError, OSError) as error:
            _log.debug("http: %s", error, extra={"event": "http-connection"})
        finally:
            self._open -= 1
            writer.close()

    async def _response(self, reader: asyncio.StreamReader) -> Response:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return MALFORMED
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - RFC 9112 §3
            return MALFORMED
        return await self._routed(words[1].partition("?")[0]) if words[0] == "GET" else NOT_FOUND

    async def _routed(self, path: str) -> Response:
        for route in self._routes:
            response = await route(path)
            if response is not None:
                return response
        return NOT_FOUND


def _bytes(response: Response) -> bytes:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"content-type: {response.content_type}\r\n"
        f"content-length: {len(response.body)}\r\n"
        f"cache-control: {f'max-age={response.max_age_s}' if response.max_age_s else 'no-store'}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + response.body
