"""Many keys of an instance meet a new signer at the same moment: each looks for a newer trust document, one adds it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rekey.connection import Connection
from rekey.credentials import Login
from rekey.trust_cache import Seen, TrustCache
from rekey_core.authority import Stream
from rekey_core.contracts import SignedTrust
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import BusMessage
from rekey_core.errors import WrongAuthorError
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust, issue
from tests.unit.world import ENV, NOW, World


class Documents(Connection):
    """A bus that holds trust documents, and takes its time."""

    def __init__(self, *documents: SignedTrust) -> None:
        super().__init__(Login("", "", Path(), Path(), Path(), "orders"))
        self.documents = list(documents)

    async def get(self, stream: Stream, subject: str, within_s: float) -> BusMessage | None:
        del within_s
        await asyncio.sleep(0)
        n = int(subject.rpartition(".")[2])
        if n > len(self.documents):
            return None
        return BusMessage(stream.value, subject, {}, self.documents[n - 1].model_dump_json().encode(), n, NOW)


@pytest.mark.parametrize("at_once", [1, 2, 8])
async def test_a_new_document_is_added_once_however_many_look_for_it(tmp_path: Path, at_once: int) -> None:
    world, new = World(), SigningKey.generate().public_raw
    bus = Documents(issue(world.document(), ()))
    cache = TrustCache(bus, ENV, world.trust.digest, Seen.load(tmp_path), 1.0)
    await cache.refresh()
    distributor = world.document().services[Service.DISTRIBUTOR]
    services = {**world.document().services, Service.DISTRIBUTOR: (*distributor, b64u_encode(new))}
    bus.documents.append(world.next_trust("oliver", "olga", services=services))

    def signed_by_the_new_one(trust: Trust) -> int:
        if new not in trust.service_keys(Service.DISTRIBUTOR):
            raise WrongAuthorError("who is that")
        return trust.n

    found = await asyncio.gather(*(cache.fresh(signed_by_the_new_one) for _ in range(at_once)))
    assert found == [2] * at_once
