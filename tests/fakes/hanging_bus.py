"""A bus that takes a connection and then says nothing, as a server does that hangs between two lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_SAID: Final = {
    "server_id": "A",
    "version": "2.11.0",
    "proto": 1,
    "headers": True,
    "max_payload": 1 << 20,
    "tls_required": True,
}


@asynccontextmanager
async def hanging_bus() -> AsyncIterator[str]:
    """Its URL. It greets, wants TLS, and does not shake hands."""
    over, inside = asyncio.Event(), set[asyncio.Task[object]]()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        inside.add(task)
        writer.write(b"INFO " + json.dumps(_SAID).encode() + b"\r\n")
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        await asyncio.gather(*inside)
        server.close()
