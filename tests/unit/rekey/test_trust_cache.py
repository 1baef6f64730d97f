"""Who is who, as it is read and remembered: one of many adds a new document, and a full disk ends nobody's work."""

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
from rekey_core.errors import ConfigurationError, TrustError, WrongAuthorError
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust, issue
from tests.unit.rekey.profile import runs_of
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


async def test_who_cannot_write_down_what_it_saw_does_not_begin(tmp_path: Path) -> None:
    world = World()
    bus = Documents(issue(world.document(), ()))
    (tmp_path / "file").touch()
    cache = TrustCache(bus, ENV, world.trust.digest, Seen(tmp_path / "file" / "seen.json"), 1.0)
    for _ in range(2):  # a second try is no way round
        with pytest.raises(ConfigurationError, match=r"state_dir .*/file: File exists") as refused:
            await cache.refresh()
        assert "state_dir" in (refused.value.hint or "")
    with pytest.raises(ConfigurationError, match=r"state_dir .*/file: Not a directory"):
        Seen.load(tmp_path / "file")


async def test_who_has_begun_goes_on_and_writes_down_later_what_a_full_disk_did_not_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, full, room = World(), tmp_path / "file" / "seen.json", tmp_path / "seen.json"
    bus = Documents(issue(world.document(), ()))
    seen = Seen.load(tmp_path)
    cache = TrustCache(bus, ENV, world.trust.digest, seen, 1.0)
    await cache.refresh()
    (tmp_path / "file").touch()
    seen.path = full
    bus.documents.append(world.next_trust("oliver", "olga", services=world.document().services))
    assert (await cache.refresh()).n == 2
    await seen.note_as_of("orders-db", 7)
    assert len(not_saved(caplog)) == 1
    assert "File exists" in not_saved(caplog)[0]
    assert (Seen.load(tmp_path).trust_n, Seen.load(tmp_path).as_of) == (1, {})
    seen.path = room
    await seen.note_as_of("orders-db", 7)  # nothing new: what is missing is written all the same
    assert (Seen.load(tmp_path).trust_n, Seen.load(tmp_path).as_of) == (2, {"orders-db": 7})


def not_saved(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record for record in caplog.records if getattr(record, "event", "") == "state-not-saved"]
    return [record.getMessage() for record in said]


async def test_a_full_disk_is_tried_once_for_all_who_wait_and_named_once_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, keys = World(), [f"key-{number}" for number in range(300)]
    bus = Documents(issue(world.document(), ()))
    seen = Seen.load(tmp_path)
    cache = TrustCache(bus, ENV, world.trust.digest, seen, 1.0)
    await cache.refresh()
    (tmp_path / "file").touch()
    for as_of, said in ((1, 1), (2, 2)):
        seen.path = tmp_path / "file" / "seen.json"
        for _ in range(2):  # the second pass has no news
            with runs_of(Seen.save) as tries:
                await asyncio.gather(*(seen.note_as_of(key, as_of) for key in keys))
            assert 1 <= len(tries) <= 2, "who waits while a try fails takes part in one more"
            await cache.refresh()
            assert len(not_saved(caplog)) == said
        seen.path = tmp_path / "seen.json"
        await asyncio.gather(*(seen.note_as_of(key, as_of) for key in keys))
        assert Seen.load(tmp_path).as_of == dict.fromkeys(keys, as_of)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"trust_n": 1, "trust_di', id="half of it"),
        pytest.param(bytes(64), id="zeroes"),
        pytest.param(b"[1, 2]", id="another file"),
        pytest.param(b'{"trust_n": 1, "trust_digest": "", "as_of": [1]}', id="a list of keys"),
        pytest.param(b'{"trust_n": null, "trust_digest": "", "as_of": {}}', id="no number"),
        pytest.param(b'{"trust_n": 1, "trust_digest": "", "as_of": {"k": 1e999}}', id="one without end"),
        pytest.param(b'{"trust_n": Infinity, "trust_digest": "", "as_of": {}}', id="infinity"),
        pytest.param(b'{"trust_n": 1, "as_of": {}}', id="no digest"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_a_torn_memory_is_an_error_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seen.json").write_bytes(content)
    with pytest.raises(TrustError, match=r"seen\.json is damaged") as refused:
        Seen.load(tmp_path)
    assert "find out why" in (refused.value.hint or "")
