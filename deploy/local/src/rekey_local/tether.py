"""One process's way to the bus, which can be cut and mended while everybody else's is as it was."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from rekey_local.plan import HOST

CHUNK: Final = 1 << 16  # bytes


class Tether:
    """A port on loopback whose bytes go on to another one as they come; TLS goes through unopened."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[object]] = set()
        self.port = 0  # chosen when it is mended for the first time

    async def mend(self) -> None:
        """Let connections through. Raises OSError when somebody took the port meanwhile."""
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def close(self) -> None:
        """Cut for good."""
        self.cut()
        if self._passing:
            await asyncio.wait(self._passing)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self._connect(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
            self._open.add(far_writer)
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
            self._open.discard(far_writer)
        except OSError:  # the bus is away: nothing to pass on
            writer.transport.abort()
        finally:
            self._open.discard(writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends; the other then ends too."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
