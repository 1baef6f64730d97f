from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rekey import connection
from rekey.connection import Connection
from rekey.credentials import Login
from rekey_core.authority import Identity
from rekey_core.errors import UnavailableError
from tests.fakes.hanging_bus import hanging_bus
from tests.system.certificates import Authority

WITHIN_S = 0.2
LIMIT_S = 20  # for ever would be longer


async def test_a_bus_that_hangs_in_the_handshake_is_left_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_S", WITHIN_S)
    files = Authority(tmp_path).identity(Identity.APPLICATION, "orders")
    async with hanging_bus() as url:
        login = Login(url, "localhost", files.cert, files.key, files.ca, "orders")
        with pytest.raises(UnavailableError, match=url):
            await asyncio.wait_for(Connection(login).open(WITHIN_S), LIMIT_S)
