"""A service's way to its database where the server is not the one that its URL demands."""

from __future__ import annotations

import asyncio
import ssl
import struct
from pathlib import Path

import pytest

from rekey_core.authority import Identity
from rekey_runtime.database import Database, DatabaseAwayError
from tests.system.certificates import Authority

SSL_REQUEST = 8  # bytes (PostgreSQL 18 §54.2.11)


def address(tmp_path: Path, server: asyncio.Server, options: str) -> Path:
    """The file that tells a service where its database is."""
    file = tmp_path / "database.url"
    file.write_text(f"postgresql://a:b@127.0.0.1:{server.sockets[0].getsockname()[1]}/x?{options}")
    file.chmod(0o600)
    return file


async def test_a_server_whose_certificate_is_not_trusted_is_away_and_no_reason_to_end(tmp_path: Path) -> None:
    """It may be replaced while the service runs: then rows are late, and the service goes on."""
    ours, theirs = (Authority(directory) for directory in directories(tmp_path))
    certificate = theirs.server()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)

    async def upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(SSL_REQUEST)
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except (OSError, ConnectionError):  # the client leaves, as it should
            writer.close()

    server = await asyncio.start_server(upgraded, "127.0.0.1", 0)
    file = address(tmp_path, server, f"sslmode=verify-full&sslrootcert={ours.ca}")
    async with server:
        with pytest.raises(DatabaseAwayError, match="certificate verify failed"):
            await Database(file, Identity.AUDIT, "a test").applied()


async def test_a_server_that_takes_its_leave_in_the_middle_is_away_and_no_reason_to_end(
    tmp_path: Path,
) -> None:
    """It is shut down just when we are to ask: its last word has come, and the connection still stands."""
    gone = asyncio.Event()

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = struct.unpack("!i", await reader.readexactly(4))[0]
        await reader.readexactly(length - 4)
        version = said(b"S", b"server_version\x0018.0\x00")
        writer.write(said(b"R", struct.pack("!i", 0)) + version + said(b"Z", b"I"))
        await writer.drain()
        writer.write(said(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"))
        await writer.drain()
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(leaving, "127.0.0.1", 0)
    file = address(tmp_path, server, "sslmode=disable")
    async with server:
        with pytest.raises(DatabaseAwayError):
            await Database(file, Identity.AUDIT, "a test").applied()
        await gone.wait()


def said(kind: bytes, body: bytes) -> bytes:
    """One message of a server (PostgreSQL 18 §54.7)."""
    return kind + struct.pack("!i", len(body) + 4) + body


def directories(path: Path) -> list[Path]:
    made = [path / "ours", path / "theirs"]
    for directory in made:
        directory.mkdir()
    return made
