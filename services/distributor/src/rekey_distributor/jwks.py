"""The public keys of asymmetric classes over loopback HTTP: ``GET /<env>/<key>/jwks.json`` (RFC 7517). Read-only.

A convenience for verifiers without the SDK: who needs proof takes the SPKI from the signed ``generated`` fact. What the
emergency lane stops is not served from that moment, whether or not a fact says so yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from rekey_core.errors import RekeyError
from rekey_core.fold import KeyState
from rekey_core.jwk import jwk_set
from rekey_core.signatures import SCHEMES
from rekey_distributor.emergencies import Emergencies

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_PATH: Final = re.compile(r"/([a-z0-9-]+)/([a-z0-9-]+)/jwks\.json")
_MAX_AGE_S: Final = 5  # how long a cache may keep the set: a new kid appears long before it signs


class JwksApp:
    """A two-answer ASGI application."""

    def __init__(
        self, env: str, state_of: Callable[[str], Awaitable[KeyState]], emergencies: Emergencies
    ) -> None:
        self._env = env
        self._state_of = state_of
        self._emergencies = emergencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 200 with the set, 404 for everything that is not a public key of ours, 503 when unknown."""
        del receive
        if scope["type"] != "http":
            return
        status, body = await self._answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", b"application/jwk-set+json"),
            (b"cache-control", f"max-age={_MAX_AGE_S}".encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str) -> tuple[int, bytes]:
        match = _PATH.fullmatch(path)
        if method != "GET" or match is None or match[1] != self._env:
            return 404, b'{"error":"expected GET /<environment>/<key>/jwks.json"}'
        try:
            state = await self._state_of(match[2])
        except RekeyError as error:
            return 503, json.dumps({"error": error.code}).encode()
        if state.algorithm is None or state.algorithm not in SCHEMES:
            return 404, b'{"error":"no public keys under this name"}'
        keys = jwk_set(state.algorithm, state.public_keys(self._emergencies.denied(state)))
        return 200, json.dumps(keys).encode()
