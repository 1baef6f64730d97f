"""How a key comes in: who was given it is told everything of it; nobody waits for one that nobody was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rekey.background import Background
from rekey.member import Shared
from rekey.members import Members
from rekey.settings import Settings
from rekey_core.contracts import LeaseRequest
from rekey_core.errors import UnavailableError, UsageRefusedError
from rekey_core.names import Service
from tests.unit.rekey.desk import UNHEARD, Desk, Instance
from tests.unit.rekey.world import KEY, World

W = World()
OTHER = "orders-archive"


class SlowDesk(Desk):
    """Leases are given when the test says so."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def request(self, subject: str, data: bytes, within_s: float) -> tuple[bytes, Mapping[str, str]]:
        answer = await super().request(subject, data, within_s)
        if isinstance(self.requests[-1], LeaseRequest):
            self.asked.set()
            await self.may_answer.wait()
        return answer


class Process:
    """An application's process, whose keys are ready within ``total_s`` or given up."""

    def __init__(self, place: Path) -> None:
        me = Instance(W, place, KEY)
        files = dict.fromkeys(("tls_cert", "tls_key", "tls_ca", "signing_key", "transport_key"), place)
        said = {"env": "dev", "dependent": "orders", "bus_url": "none", "trust_genesis": "0" * 64}
        settings = Settings.model_validate(files | said | {"state_dir": place, "total_s": 0.3})
        self.trust, self.desk, self.background = me.trust, SlowDesk(W), Background(lambda _: None)
        shared = Shared(settings, self.desk, me.trust, me.seen, UNHEARD)
        self.members = Members(W.identity, shared, self.background)
        self.desk.put(W.stored(W.notice((1,), 1), Service.DISTRIBUTOR))
        self.desk.put(W.stored(W.notice((1,), 1, key=OTHER), Service.DISTRIBUTOR))

    def join(self, name: str = KEY) -> asyncio.Task[object]:
        return asyncio.create_task(self.members.join(name, lambda _: None))

    def waits(self, total_s: float) -> None:
        """For keys that are asked for from now on."""
        shared = self.members._shared  # noqa: SLF001 - no application changes its settings
        settings = shared.settings.model_copy(update={"total_s": total_s})
        self.members._shared = replace(shared, settings=settings)  # noqa: SLF001 - as above

    async def leased(self) -> tuple[str, ...]:
        """The keys in the lease that comes next."""
        await self.join(OTHER)
        await self.members.of(OTHER).renewing.once()
        request = self.desk.requests[-1]
        assert isinstance(request, LeaseRequest)
        return request.keys


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    made = Process(tmp_path)
    await made.trust.refresh()
    yield made
    await made.background.stop()


async def test_a_key_that_was_given_is_followed(process: Process) -> None:
    worker = await process.members.join(KEY, lambda _: None)
    process.desk.put(W.stored(W.notice((1, 2), 2, as_of=11), Service.DISTRIBUTOR, sequence=2))
    process.members.heard(KEY)
    async with asyncio.timeout(10):
        while worker.key.protects != 2:  # noqa: ASYNC110 - the desk has no event to wait for
            await asyncio.sleep(0.01)
    assert await process.leased() == tuple(sorted((OTHER, KEY)))


async def test_a_key_whose_join_was_cancelled_is_in_no_lease(process: Process) -> None:
    process.desk.may_answer.clear()
    joining = process.join()
    await process.desk.asked.wait()
    joining.cancel()
    await asyncio.wait([joining])
    process.desk.may_answer.set()
    assert process.members.workers() == []
    assert await process.leased() == (OTHER,)


async def test_a_key_that_was_cancelled_while_others_asked_for_its_lease_too_is_in_no_lease(
    process: Process,
) -> None:
    process.desk.may_answer.clear()
    renewing = process.members.first.renewing
    async with renewing.asking:
        other, joining = process.join(OTHER), process.join()
        while len(renewing._joining) < 2:  # noqa: ASYNC110, SLF001 - no application sees who waits for one request
            await asyncio.sleep(0.01)
    await process.desk.asked.wait()
    joining.cancel()
    await asyncio.wait([joining])
    process.desk.may_answer.set()
    await other
    assert await process.leased() == (OTHER,)


async def test_a_key_that_was_not_ready_in_time_is_in_no_lease(process: Process) -> None:
    """Its first version would wait for an instance in which nobody looks for it."""
    process.desk.put(W.stored(W.notice(()), Service.DISTRIBUTOR))
    with pytest.raises(UnavailableError, match=r"is not ready after 0\.3 s: it has no active version yet"):
        await process.join()
    assert await process.leased() == (OTHER,)


async def test_a_key_that_is_for_something_else_is_in_no_lease(process: Process) -> None:
    def check(_: object) -> None:
        message = "a key for MACs"
        raise UsageRefusedError(message)

    with pytest.raises(UsageRefusedError):
        await process.members.join(KEY, check)
    assert process.members.workers() == []
    assert await process.leased() == (OTHER,)


async def test_who_still_waits_when_another_one_has_given_up_is_given_what_is_followed(
    process: Process,
) -> None:
    process.desk.put(W.stored(W.notice(()), Service.DISTRIBUTOR))
    first = process.join()
    await asyncio.sleep(0)
    process.waits(30)
    second = process.join()
    with pytest.raises(UnavailableError):
        await first
    process.desk.put(W.stored(W.notice((1,), 1, as_of=11), Service.DISTRIBUTOR, sequence=2))
    worker = await second
    assert process.members.workers() == [worker]
    assert await process.leased() == tuple(sorted((OTHER, KEY)))
    assert await process.join() is worker
