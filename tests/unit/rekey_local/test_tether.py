"""The way to the bus that the story cuts: bytes go both ways, nothing goes once it is cut, and it is mended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rekey_local.plan import HOST
from rekey_local.tether import Tether


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(100):
            writer.write(data)
    writer.transport.abort()


@pytest.fixture
async def tether() -> AsyncIterator[Tether]:
    """To a server that says what it is told."""
    server = await asyncio.start_server(_echo, HOST, 0)
    one = Tether(server.sockets[0].getsockname()[1])
    await one.mend()
    yield one
    await one.close()
    server.close()
    await asyncio.sleep(0.1)  # what was aborted ends with the loop's next turns


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    async with asyncio.timeout(10):
        return await reader.readexactly(5)


async def test_what_is_cut_ends_lets_nobody_in_and_can_be_mended(tether: Tether) -> None:
    before = await asyncio.open_connection(HOST, tether.port)
    assert await say(*before) == b"hello"
    tether.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await say(*before)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(HOST, tether.port)
    await tether.mend()
    after = await asyncio.open_connection(HOST, tether.port)
    assert await say(*after) == b"hello"
    for _, writer in (before, after):
        writer.transport.abort()
