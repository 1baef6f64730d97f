"""How versions arrive: asked for, checked against every signature that speaks of them, then held."""

from __future__ import annotations

import logging

from rekey.beliefs import Believed, believed_fact
from rekey.identity import Identity
from rekey.keystate import KeyState
from rekey.requests import Requests
from rekey.trust_cache import TrustCache
from rekey.versions import (
    Version,
    check_generated,
    install_remote,
    install_remote_secret,
    install_secret,
)
from rekey_core.contracts import MAX_VERSIONS_PER_REQUEST, Activated, Generated, Notice, ReleasedVersion
from rekey_core.errors import MalformedError, RecordError, RefusedError, RekeyError
from rekey_core.names import Release
from rekey_core.signatures import SCHEMES
from rekey_core.trust import Trust

_log = logging.getLogger(__name__)


class Installing:
    """Installs versions of one key."""

    def __init__(self, key: KeyState, requests: Requests, trust: TrustCache, identity: Identity) -> None:
        self._key = key
        self._requests = requests
        self._trust = trust
        self._identity = identity

    async def install(self, versions: tuple[int, ...], believed: Believed) -> RekeyError | None:
        """Install what can be; the last reason why something could not."""
        problem: RekeyError | None = None
        size = 1 if believed.notice.release is Release.NEVER else MAX_VERSIONS_PER_REQUEST
        waiting = [versions[start : start + size] for start in range(0, len(versions), size)]
        while waiting:
            some = waiting.pop(0)
            try:
                for version in await self._fetch(some, believed):
                    self._key.install(version)
                    _log.info(
                        "installed %s@%d", self._key.name, version.version, extra={"event": "installed"}
                    )
            except (RefusedError, MalformedError) as error:
                problem = error
                if len(some) > 1:  # one of them is refused or wrong: the others need not wait for it
                    waiting += [(version,) for version in some if version not in self._key.held]
            except RekeyError as error:
                problem = error
        return problem

    async def _fetch(self, versions: tuple[int, ...], believed: Believed) -> list[Version]:
        if believed.notice.release is Release.NEVER:
            return [await self._remote(version, believed) for version in versions]
        answer = await self._requests.material(self._key.name, versions)
        trust = self._trust.current
        return [self._opened(released, believed.notice, trust) for released in answer.releases]

    async def _remote(self, version: int, believed: Believed) -> Version:
        fact = believed.generated.get(version)
        if fact is None:
            raise RecordError(f"{self._key.name}@{version}: the notice has no signed generated of it")
        if fact.algorithm not in SCHEMES:
            return install_remote_secret(
                fact, *await self._requests.confirmation(self._key.name, version, "installed")
            )
        proof = await self._requests.probe(self._key.name, version, "installed")
        return install_remote(fact, proof, self._identity.instance)

    def _opened(self, released: ReleasedVersion, notice: Notice, trust: Trust) -> Version:
        name, number = self._key.name, released.version
        fact = believed_fact(released.generated, Generated, key=name, version=number, trust=trust)
        noticed = next(noticed for noticed in notice.versions if noticed.version == number)
        check_generated(
            fact,
            env=notice.env,
            key=name,
            noticed=noticed,
            algorithm=notice.algorithm,
            release=notice.release,
        )
        if released.activated is not None:
            believed_fact(released.activated, Activated, key=name, version=number, trust=trust)
        if self._key.is_taken(fact.key_id, by_other_than=number):
            raise RecordError(f"{name}@{number}: key id {fact.key_id} is another version's")
        identity = self._identity
        return install_secret(fact, released, identity.transport, identity.instance)
