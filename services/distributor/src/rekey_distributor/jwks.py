"""The public keys of asymmetric classes over loopback HTTP: ``GET /<env>/<key>/jwks.json`` (RFC 7517). Read-only.

A convenience for verifiers without the SDK: who needs proof takes the SPKI from the signed ``generated`` fact. What the
emergency lane stops is not served from that moment, whether or not a fact says so yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from rekey_core.errors import RekeyError
from rekey_core.fold import KeyState
from rekey_core.jwk import jwk_set
from rekey_core.signatures import SCHEMES
from rekey_distributor.emergencies import Emergencies
from rekey_runtime.http_server import Response, json_response

_PATH: Final = re.compile(r"/([a-z0-9-]+)/([a-z0-9-]+)/jwks\.json")
_MAX_AGE_S: Final = 5  # how long a cache may keep the set: a new kid appears long before it signs


class Jwks:
    """A route of the process's HTTP server."""

    def __init__(
        self, env: str, state_of: Callable[[str], Awaitable[KeyState]], emergencies: Emergencies
    ) -> None:
        self._env = env
        self._state_of = state_of
        self._emergencies = emergencies

    async def answer(self, path: str) -> Response | None:
        """200 with the set, 404 for every key that is not one of ours with public keys, 503 when that is unknown."""
        match = _PATH.fullmatch(path)
        if match is None or match[1] != self._env:
            return None
        try:
            state = await self._state_of(match[2])
        except RekeyError as error:
            return json_response(HTTPStatus.SERVICE_UNAVAILABLE, {"error": error.code})
        if state.algorithm is None or state.algorithm not in SCHEMES:
            return json_response(HTTPStatus.NOT_FOUND, {"error": "no public keys under this name"})
        keys = jwk_set(state.algorithm, state.public_keys(self._emergencies.denied(state)))
        body = json.dumps(keys).encode()
        return Response(HTTPStatus.OK, "application/jwk-set+json", body, max_age_s=_MAX_AGE_S)
