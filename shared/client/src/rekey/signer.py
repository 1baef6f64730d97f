"""Tokens signed inside the HSM and verified here: the private key never leaves, the public one is always at hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rekey import jwt
from rekey.errors import SignatureError, TokenError, UnknownKeyIdError
from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.requests import Requests
from rekey.retry import persistently
from rekey.versions import RemoteVersion, verify_ecdsa
from rekey_core.errors import ExpiredError, StateRefusedError, UnavailableError

MAX_IN_FLIGHT: Final = (
    16  # requests of one signer at a time: after an outage what waited comes in turn, not at once
)


class Signer:
    """A granted key that signs (ES256) and never leaves the HSM."""

    __slots__ = ("_key", "_lease", "_look_again", "_requests", "_total_s", "_turns")

    def __init__(
        self,
        key: KeyState,
        lease: LeaseClock,
        requests: Requests,
        total_s: float,
        look_again: Callable[[], None],
    ) -> None:
        self._key = key
        self._lease = lease
        self._requests = requests
        self._total_s = total_s
        self._look_again = look_again
        self._turns = asyncio.Semaphore(MAX_IN_FLIGHT)

    @property
    def name(self) -> str:
        """The key's name."""
        return self._key.name

    async def sign_jwt(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims (RFC 7519, ES256).

        Raises:
            UnavailableError: it could not be signed within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that signs.
            TokenError: the claims are not JSON or too large.
            NotGrantedError: the key is no longer this dependent's.
        """
        return await persistently(lambda: self._in_turn(claims), self._total_s, what=f"key {self._key.name}")

    def verify_jwt(self, token: str) -> dict[str, Any]:
        """The claims of a token that this key signed and that is valid now; no call leaves the process.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that signed it.
            VersionDestroyedError: the version that signed it is gone.
            UnknownKeyIdError: its ``kid`` is no version of this key.
            TokenError: not a token, of another algorithm, expired, or of a wrong signature.
        """
        self._lease.check(self._key.name)
        found = jwt.parse(token)
        version = self._key.view.by_id.get(found.kid)
        if version is None:
            raise self._unknown(found.kid)
        try:
            verify_ecdsa(_remote(version).public, found.signing_input, found.signature, where="token")
        except SignatureError as error:
            raise TokenError(f"the token is not signed by key {self._key.name}, kid {found.kid}") from error
        jwt.check_times(found.claims, time.time())
        return found.claims

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys (RFC 7517 §5) that tokens are accepted under, the coming one included, stopped ones not."""
        versions = sorted(self._key.view.by_id.values(), key=lambda version: version.version)
        return {"keys": [dict(_remote(version).jwk) for version in versions]}

    async def _in_turn(self, claims: Mapping[str, Any]) -> str:
        async with (
            self._turns
        ):  # before a version is entered: a switch must not wait for those that wait here
            return await self._sign(claims)

    async def _sign(self, claims: Mapping[str, Any]) -> str:
        self._lease.check(self._key.name)
        version = self._key.enter()
        try:
            remote = _remote(version)
            signed = jwt.signing_input(remote.id, claims)
            signature = await self._requests.sign(self._key.name, remote.version, signed)
        except (
            StateRefusedError,
            ExpiredError,
        ) as error:  # the distributor knows more than we do: find out what
            self._look_again()
            raise UnavailableError(str(error), hint=error.hint) from error
        finally:
            version.in_flight.leave()
        try:
            verify_ecdsa(remote.public, signed, signature, where=f"{self._key.name}@{remote.version}")
        except SignatureError as error:
            raise UnavailableError(f"the answer cannot be believed: {error}") from error
        return jwt.compact(signed, signature)

    def _unknown(self, kid: str) -> Exception:
        stop = self._key.view.refused_ids.get(kid)
        if stop is not None:
            return stop.error(stop.version)
        return UnknownKeyIdError(f"key {self._key.name} has no version with kid {kid[:64]!r}")

    def __repr__(self) -> str:
        return f"Signer({self._key.name})"


def _remote(version: object) -> RemoteVersion:
    if not isinstance(version, RemoteVersion):
        raise TypeError("a signer holds public keys only")
    return version
