"""A service's way to its database where the server is not the one that its URL demands."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from rekey_core.authority import Identity
from rekey_runtime.database import Database, DatabaseAwayError
from tests.system.certificates import Authority

SSL_REQUEST = 8  # bytes (PostgreSQL 18 §54.2.11)


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
    port = server.sockets[0].getsockname()[1]
    file = tmp_path / "database.url"
    file.write_text(f"postgresql://a:b@127.0.0.1:{port}/x?sslmode=verify-full&sslrootcert={ours.ca}")
    file.chmod(0o600)
    async with server:
        with pytest.raises(DatabaseAwayError, match="certificate verify failed"):
            await Database(file, Identity.AUDIT, "a test").applied()


def directories(path: Path) -> list[Path]:
    made = [path / "ours", path / "theirs"]
    for directory in made:
        directory.mkdir()
    return made
