"""Tokens signed inside the HSM and verified here: the private key never leaves, the public one is always at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rekey import jwt
from rekey.errors import SignatureError, TokenError
from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.remote import Remote
from rekey.requests import Requests
from rekey.versions import RemoteVersion, Version
from rekey_core.errors import UnavailableError
from rekey_core.signatures import verify_signature


class Signer:
    """A granted key that signs (ES256, ES384 or PS256, as its class says) and never leaves the HSM."""

    __slots__ = ("_key", "_lease", "_remote", "_requests")

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
        self._remote = Remote(key, lease, total_s, look_again)

    @property
    def name(self) -> str:
        """The key's name."""
        return self._key.name

    async def sign_jwt(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims (RFC 7519), signed by the algorithm of the key.

        Raises:
            UnavailableError: it could not be signed within the settings' ``total_s``.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that signs.
            TokenError: the claims are not JSON or too large.
            NotGrantedError: the key is no longer this dependent's.
        """
        return await self._remote.protect(lambda version: self._sign(version, claims))

    def verify_jwt(self, token: str) -> dict[str, Any]:
        """The claims of a token that this key signed and that is valid now; no call leaves the process.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that signed it.
            VersionDestroyedError: the version that signed it is gone.
            UnknownKeyIdError: its ``kid`` is no version of this key.
            TokenError: not a token, of another algorithm than the key's, expired, or of a wrong signature.
        """
        self._lease.check(self._key.name)
        found = jwt.parse(token)
        version = _remote(self._key.find(found.kid))
        jwt.check_algorithm(found, version.jwk["alg"])
        try:
            algorithm = version.fact.algorithm
            verify_signature(algorithm, version.public, found.signing_input, found.signature)
        except SignatureError as error:
            raise TokenError(f"the token is not signed by key {self._key.name}, kid {found.kid}") from error
        jwt.check_times(found.claims, time.time())
        return found.claims

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys (RFC 7517 §5) that tokens are accepted under, the coming one included, stopped ones not."""
        versions = sorted(self._key.view.by_id.values(), key=lambda version: version.version)
        return {"keys": [dict(_remote(version).jwk) for version in versions]}

    async def _sign(self, version: Version, claims: Mapping[str, Any]) -> str:
        remote = _remote(version)
        signed = jwt.signing_input(remote.jwk["alg"], remote.id, claims)
        signature = await self._requests.sign(self._key.name, remote.version, signed)
        where = f"{self._key.name}@{remote.version}"
        try:
            verify_signature(remote.fact.algorithm, remote.public, signed, signature, where=where)
        except SignatureError as error:
            raise UnavailableError(f"the answer cannot be believed: {error}") from error
        return jwt.compact(signed, signature)

    def __repr__(self) -> str:
        return f"Signer({self._key.name})"


def _remote(version: object) -> RemoteVersion:
    if not isinstance(version, RemoteVersion):
        raise TypeError("a signer holds public keys only")
    return version
