"""A key that is left has nothing on its way: what waits is signed again, what was sent is waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import Alert
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import KEY_ID_HEADER, Packed, pack, signed_of
from rekey_core.errors import ConflictError, UnavailableError, UnknownOutcomeError
from rekey_core.names import Service
from rekey_core.signing import SigningKey, verify
from rekey_runtime.identity import in_use
from rekey_runtime.under_way import LATE_S, UnderWay
from rekey_runtime.waves import BatchItem
from tests.fakes.endings import KilledError
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.scene import Scene
from tests.unit.world import ENV

OLD, NEW = SigningKey.generate(), SigningKey.generate()


@pytest.fixture
async def bus(tmp_path: Path) -> MemoryBus:
    found = await Scene(home=tmp_path, transport="0" * 64).bus(Service.AUDIT)
    found.signers = (OLD, NEW)
    return found


def alert() -> Alert:
    at = datetime.now(UTC)
    said = {"subject": "evt.seen", "stream": "LIFECYCLE", "sequence": 1, "code": "schema", "message": "seen"}
    return Alert.model_validate({"env": ENV, "author": Service.AUDIT, "at": at} | said)


def place(bus: MemoryBus, number: str) -> str:
    return bus.subjects.report(Service.AUDIT, "alert", number)


def is_by(bus: MemoryBus, number: str, key: SigningKey) -> bool:
    """Whether what stands there verifies under the key, and names it."""
    [message] = bus.server.messages(Stream.REPORTS, place(bus, number))
    signed = signed_of(message)
    verify(key.public_raw, signed.type, message.data, b64u_decode(signed.signature))
    return signed.key_id == key.key_id


async def test_what_was_signed_before_the_keys_change_is_sent_under_the_new_one(bus: MemoryBus) -> None:
    first, second, third = (bus.pack(alert()) for _ in range(3))
    bus.signers = (NEW, OLD)
    await bus.publish(Stream.REPORTS, place(bus, "1"), first)
    await bus.publish_batch(Stream.REPORTS, [BatchItem(place(bus, "2"), second)])
    bus.signers = (NEW,)  # the old one is not even in the files any more
    await bus.publish_together(Stream.REPORTS, BatchItem(place(bus, "3"), third))
    assert all(is_by(bus, number, NEW) for number in "123")


async def test_what_waits_for_a_batch_when_the_keys_change_is_sent_under_the_new_one(bus: MemoryBus) -> None:
    def change() -> None:
        bus.signers = (NEW, OLD)

    bus.server.once("before", place(bus, "1"), change)
    waves = [BatchItem(place(bus, number), bus.pack(alert()), check_subject="one check") for number in "12"]
    await asyncio.gather(*(bus.publish_together(Stream.REPORTS, item) for item in waves))
    assert is_by(bus, "1", OLD)
    assert is_by(bus, "2", NEW)


async def test_what_somebody_else_signed_is_passed_on_as_it_is(bus: MemoryBus) -> None:
    other = SigningKey.generate()
    found: Packed = pack(alert(), other, source="another")
    await bus.publish(Stream.REPORTS, place(bus, "1"), found)
    assert found.headers[KEY_ID_HEADER] == other.key_id
    assert is_by(bus, "1", other)


ENDS = [
    pytest.param(None, True, id="stored"),
    pytest.param(ConflictError("late"), True, id="refused: not stored"),
    pytest.param(UnavailableError("full"), True, id="no room: not stored"),
    pytest.param(UnknownOutcomeError("no answer"), False, id="no answer: it may come"),
    pytest.param(asyncio.CancelledError(), False, id="who sent it does not wait: it may come"),
    pytest.param(KilledError(), False, id="whatever else: it may come"),
]


@pytest.mark.parametrize(("end", "over"), ENDS)
def test_a_key_is_in_use_for_as_long_as_something_of_it_may_be_stored(
    end: BaseException | None, *, over: bool
) -> None:
    now = 100.0
    under_way = UnderWay(clock=lambda: now)
    assert under_way.is_over(OLD)
    try:
        with under_way.sending(OLD), under_way.sending(OLD):
            assert not under_way.is_over(OLD)
            assert in_use((OLD, NEW), NEW, under_way.is_over) is OLD
            assert under_way.is_over(NEW)
            if end is not None:
                raise end
    except (ConflictError, UnavailableError, UnknownOutcomeError, asyncio.CancelledError, KilledError):
        assert end is not None
    assert under_way.is_over(OLD) is over
    assert in_use((OLD, NEW), NEW, under_way.is_over) is (NEW if over else OLD)
    now += LATE_S
    assert under_way.is_over(OLD)


async def test_what_the_bus_has_not_answered_yet_is_under_way(bus: MemoryBus) -> None:
    seen: list[bool] = []
    bus.server.once("before", place(bus, "1"), lambda: seen.append(bus.under_way.is_over(OLD)))
    await bus.publish_together(Stream.REPORTS, BatchItem(place(bus, "1"), bus.pack(alert())))
    assert (seen, bus.under_way.is_over(OLD)) == ([False], True)
