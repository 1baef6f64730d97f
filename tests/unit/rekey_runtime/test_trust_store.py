"""What a service remembers of trust documents, in a state directory that was torn, is full, or is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekey_core.authority import Subjects
from rekey_core.errors import ConfigurationError, TrustError
from rekey_core.names import Service
from rekey_runtime.trust_store import TrustStore
from tests.fakes.scene import Scene
from tests.unit.world import ENV

FILE = "trust-seen.json"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(home=tmp_path, transport="0" * 64)


def without_audit(scene: Scene) -> None:
    """The officers take audit's key away."""
    services = {s: keys for s, keys in scene.document().services.items() if s is not Service.AUDIT}
    document = scene.next_trust("oliver", "olga", services=services)
    scene.server.store(Subjects(ENV).trust(2), document.model_dump_json().encode(), {})


async def test_a_full_disk_keeps_nobody_from_being_left_out(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    trust = (bus := await scene.bus(Service.REVOCATION)).trust
    state_dir = bus.settings.state_dir
    before = (state_dir / FILE).read_text()
    full = state_dir / f"trust-seen.{os.getpid()}.new"
    full.mkdir()  # where the file would be written first
    without_audit(scene)
    for _ in range(2):
        assert (await trust.refresh()).service_keys(Service.AUDIT) == ()
    assert trust.current.n == 2
    assert (state_dir / FILE).read_text() == before
    said = [record for record in caplog.records if getattr(record, "event", "") == "state-not-saved"]
    assert len(said) == 1, "once, however often it looks"
    assert "Is a directory" in said[0].getMessage()
    full.rmdir()
    await trust.refresh()
    assert '"n": 2' in (state_dir / FILE).read_text(), "there is room: what is missing is written down"


async def test_who_cannot_write_down_what_it_saw_does_not_begin(scene: Scene) -> None:
    bus = await scene.bus(Service.REVOCATION)
    (bus.settings.state_dir / f"trust-seen.{os.getpid()}.new").mkdir()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"state_dir .*: Is a directory") as refused:
            await (fresh := TrustStore(bus)).refresh()
        assert "state_dir" in (refused.value.hint or "")
        with pytest.raises(TrustError, match="was loaded yet"):
            _ = fresh.current


TORN = {
    "nothing": b"",
    "half of it": b'{"n": 1, "dig',
    "zeroes": bytes(64),
    "another file": b"[1, 2]",
    "a word": b'"n"',
    "no number": b'{"n": null, "digest": ""}',
    "a number without end": b'{"n": 1e999, "digest": ""}',
    "no digest": b'{"n": 1}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
async def test_a_torn_memory_is_an_error_with_its_name(scene: Scene, content: bytes) -> None:
    bus = await scene.bus(Service.REVOCATION)
    (bus.settings.state_dir / FILE).write_bytes(content)
    with pytest.raises(TrustError, match=f"{FILE} is damaged") as refused:
        await TrustStore(bus).load()
    assert "find out why" in (refused.value.hint or "")


async def test_a_memory_that_cannot_be_read_is_an_error_with_its_directory(scene: Scene) -> None:
    bus = await scene.bus(Service.REVOCATION)
    (bus.settings.state_dir / FILE).unlink()
    (bus.settings.state_dir / FILE).mkdir()
    with pytest.raises(ConfigurationError, match=r"state_dir .*: Is a directory"):
        await TrustStore(bus).load()
