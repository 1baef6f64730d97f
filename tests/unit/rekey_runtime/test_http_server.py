"""The small HTTP server: whatever comes in, one answer or a closed connection, and the next one is answered."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_runtime import http_server
from rekey_runtime.at_work import AtWork
from rekey_runtime.health import Check, Health, Remark
from rekey_runtime.http_server import HttpServer, Response, json_response


async def route(path: str) -> Response | None:
    """One path."""
    return json_response(HTTPStatus.OK, {"path": path}) if path == "/here" else None


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    running = HttpServer("127.0.0.1", 0, [route])
    await running.start()
    yield running
    await running.close()


async def send(server: HttpServer, data: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


GOOD = b"GET /here HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(GOOD, b"200", id="a path that is there"),
        pytest.param(b"GET /here?a=b HTTP/1.0\r\n\r\n", b"200", id="a query is left out, HTTP/1.0 too"),
        pytest.param(b"GET /gone HTTP/1.1\r\n\r\n", b"404", id="a path that is not"),
        pytest.param(b"POST /here HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi", b"404", id="another method"),
        pytest.param(b"GET /here\r\n\r\n", b"400", id="no version"),
        pytest.param(b"\xff\xfe\r\n\r\n", b"400", id="no request"),
        pytest.param(b"GET /here HTTP/1.1\r\n", b"400", id="no end of the headers"),
        pytest.param(b"GET /" + b"x" * 100_000, b"400", id="no end of the line"),
        pytest.param(b"", b"400", id="nothing at all"),
    ],
)
async def test_every_request_has_one_answer_and_the_next_one_too(
    server: HttpServer, data: bytes, status: bytes
) -> None:
    answer = await send(server, data)
    assert answer[9:12] in ({status, b""} if status == b"400" else {status}), "too much may end in a reset"
    again = await send(server, GOOD)
    head, _, body = again.partition(b"\r\n\r\n")
    assert (head[9:12], json.loads(body)) == (b"200", {"path": "/here"})
    assert f"content-length: {len(body)}".encode() in head


async def test_who_says_nothing_is_closed_and_holds_nobody_up(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_S", 0.2)
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
    assert (await send(server, GOOD))[9:12] == b"200"
    assert await asyncio.wait_for(silent[0][0].read(), 10) == b""
    for _, writer in silent:
        writer.close()


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer("127.0.0.1", taken.getsockname()[1], [])
        with pytest.raises(ConfigurationError, match="http 127"):
            await server.start()


async def told(health: Health, path: str = "/readyz") -> tuple[int, dict[str, object]]:
    """Status and body."""
    response = await health.answer(path)
    assert response is not None
    body: dict[str, object] = json.loads(response.body)
    return response.status.value, body


async def test_readiness_says_which_part_and_since_when() -> None:
    health = Health("generator", stale_s=60)
    assert (await told(health))[0] == 503, "before the first round"
    health.looked()
    health.remarks.add(Remark.SOFTWARE_KEYS)
    assert await told(health) == (
        200,
        {"service": "generator", "ready": True, "failed": [], "remarks": ["software-keys"], "identity": {}},
    )
    since = datetime(2026, 1, 2, tzinfo=UTC)
    health.note(Check.WORK, UnavailableError("a handler has not ended"), since)
    health.note(Check.HSM, UnavailableError("token does not answer"))
    first = {f.check: f.since for f in health.findings}
    health.note(Check.HSM, UnavailableError("token still does not answer"))
    status, body = await told(health)
    assert status == 503
    assert body["failed"] == [
        {
            "check": "work",
            "code": "unavailable",
            "message": "a handler has not ended",
            "since": since.isoformat(),
        },
        {
            "check": "hsm",
            "code": "unavailable",
            "message": "token still does not answer",
            "since": first[Check.HSM].isoformat(),
        },
    ]
    health.note(Check.WORK, None)
    health.note(Check.HSM, None)
    assert (await told(health))[0] == 200
    assert await health.answer("/other") is None


async def test_a_round_that_does_not_end_is_a_finding_itself() -> None:
    health = Health("generator", stale_s=0.05)
    health.looked()
    await asyncio.sleep(0.1)
    assert [finding.check for finding in health.findings] == [Check.WATCHDOG]


async def test_a_process_that_ends_is_not_alive() -> None:
    health = Health("generator", stale_s=60)
    assert (await told(health, "/livez"))[0] == 200
    health.alive = False
    assert (await told(health, "/livez"))[0] == 503


def test_the_oldest_work_that_takes_too_long_is_named() -> None:
    work = AtWork()
    assert work.stuck(0) is None
    with work.on("first"), work.on("second"):
        stuck = work.stuck(0)
        assert stuck is not None
        assert stuck[0] == "first"
        assert work.stuck(60) is None
    assert work.stuck(0) is None
