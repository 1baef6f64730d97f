"""A key that is refused keeps no other key of its instance from being renewed, and its own lease ends when it would have.

What stands there of it is neither forgotten, so that it is waited for as long as the instance may use it, nor made longer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rekey_core.adoption import LEASE_MARGIN_S, is_live
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Answer,
    Lease,
    LeaseAnswer,
    LeaseRequest,
    Quota,
    Receipt,
    RefusalAnswer,
)
from rekey_core.envelope import Stored
from rekey_core.errors import (
    ExpiredError,
    NotFoundError,
    NotInstalledError,
    UnavailableError,
    UndecidableKeyError,
)
from rekey_core.quotas import LEAST
from rekey_core.readers import open_answer, open_lease
from rekey_distributor.leasing import Leasing
from tests.fakes.protocol_2 import LeaseAnswerOfProtocol2
from tests.fakes.scene import KEY, Asker
from tests.unit.rekey_distributor.desk import Desk
from tests.unit.world import ENV

OTHER = "orders-archive"
BOTH = (KEY, OTHER)
WANTED = {KEY: Quota(version=1, messages=LEAST)}
LENGTH = timedelta(seconds=30)
MARGIN = timedelta(seconds=LEASE_MARGIN_S)
TICK = timedelta(microseconds=1)


class Two:
    """An instance of orders that has been given a lease for two keys; what becomes of the first one is up to the test."""

    def __init__(self, desk: Desk, asker: Asker, receipt: Receipt) -> None:
        self.desk, self.asker, self.receipt = desk, asker, receipt
        self.told: str | None = None

    def request(self, **said: Any) -> LeaseRequest:
        return self.asker.lease(self.receipt, **({"keys": BOTH, "after": self.told} | said))

    async def ask(self, **said: Any) -> LeaseAnswer:
        answer = await self.desk.leasing.lease(self.request(**said))
        self.told = answer.nonce
        return answer

    @property
    def where(self) -> str:
        return Subjects(ENV).lease("orders", self.asker.instance)

    @property
    def stored(self) -> Stored[Lease]:
        [message] = self.desk.scene.server.messages(Stream.LEASES, self.where)
        return open_lease(message, self.desk.scene.trust)

    def protects(self, version: int) -> None:
        held = self.receipt.keys[KEY].model_copy(update={"protects": version})
        self.receipt = self.receipt.model_copy(update={"keys": {KEY: held}})

    async def at(self, moment: datetime) -> None:
        """It is so late on the clock of the bus."""
        self.desk.scene.server.clock = lambda: moment
        await self.desk.clock.ask()

    def is_live(self, key: str, moment: datetime) -> bool:
        """As the scheduler counts."""
        lease = self.stored
        return is_live(lease.model.model_copy(update={"at": lease.stored_at}), key, moment)

    async def may_use(self, key: str) -> bool:
        """As a replica finds it that has given no lease itself."""
        other: Leasing = replace(self.desk.leasing, _until=OrderedDict())
        try:
            await other.check("orders", self.asker.instance, key)
        except ExpiredError:
            return False
        return True


@pytest.fixture
async def two(desk: Desk) -> Two:
    await desk.made(1)
    desk.scene.another(OTHER)
    await desk.clock.ask()
    asker = desk.scene.asker()
    found = Two(desk, asker, await desk.receipt(asker, 1))
    assert set((await found.ask(wanted=WANTED)).keys) == set(BOTH)
    return found


def not_proved(two: Two) -> None:
    """Another version is active, and was so already when the lease before was decided."""
    two.desk.scene.generated(2, two.desk.scene.requested(2))
    two.desk.scene.activated(2)
    two.told = None


def undecidable(two: Two) -> None:
    """A fact of a type that nobody knows."""
    two.desk.scene.unheard_of()


def gone_over(two: Two) -> None:
    """It protects with a version that is deactivated, and has had its lease to go over within."""
    scene = two.desk.scene
    scene.generated(2, scene.requested(2))
    scene.activated(2)
    scene.deactivated(1)
    two.protects(1)


REFUSALS = [
    pytest.param(not_proved, "not-installed", "orders-db@2 is not proved", False, id="not proved"),
    pytest.param(gone_over, "not-installed", "orders-db@2 is not proved", False, id="forced over"),
    pytest.param(undecidable, "undecidable-key", "rekey.key.blessed.v1", True, id="not decidable"),
]


@pytest.mark.parametrize(("happens", "code", "words", "retry"), REFUSALS)
async def test_a_key_that_is_refused_is_named_with_its_reason_and_the_other_one_is_renewed(
    two: Two,
    happens: Callable[[Two], None],
    code: str,
    words: str,
    retry: bool,  # noqa: FBT001
) -> None:
    before = two.stored.model
    happens(two)
    answer = await two.ask()
    assert (set(answer.keys), set(answer.refused)) == ({OTHER}, {KEY})
    refusal = answer.refused[KEY]
    assert (refusal.code, refusal.retry) == (code, retry)
    assert words in refusal.message
    assert bool(refusal.hint) is not retry
    after = two.stored.model
    assert after.nonce == answer.nonce
    assert after.keys[KEY] == before.keys[KEY], "what it had is not touched"


async def test_a_key_that_nobody_has_heard_of_is_refused_among_others(two: Two) -> None:
    answer = await two.ask(keys=(*BOTH, "no-key"))
    assert set(answer.keys) == set(BOTH)
    assert {key: no.code for key, no in answer.refused.items()} == {"no-key": "not-found"}
    assert set(two.stored.model.keys) == set(BOTH)


async def test_where_all_are_refused_each_says_why_and_nothing_is_stored(two: Two) -> None:
    before = two.stored
    undecidable(two)
    answer = await two.ask(keys=(KEY, "no-key"))
    assert {key: no.code for key, no in answer.refused.items()} == {
        KEY: "undecidable-key",
        "no-key": "not-found",
    }
    assert (dict(answer.keys), two.stored) == ({}, before)


async def test_a_refused_key_takes_no_messages_and_none_of_the_share(desk: Desk) -> None:
    await desk.made(1)
    desk.scene.another(OTHER)
    asker = desk.scene.asker()
    first = await desk.lease(asker.lease(asker.receipt({}), keys=(OTHER,)))
    desk.leasing.share.most = 0
    request = asker.lease(asker.receipt({}), keys=BOTH, wanted=WANTED, after=first.nonce)
    answer = await desk.leasing.lease(request)
    assert (set(answer.keys), set(answer.refused)) == ({OTHER}, {KEY})
    assert await desk.bus.last(Stream.QUOTAS, desk.bus.subjects.quota(KEY, 1)) is None
    with pytest.raises(UnavailableError, match="share"):
        await desk.leasing.lease(asker.lease(await desk.receipt(asker, 1), keys=BOTH))


@pytest.mark.parametrize("renewals", [1, 100])
async def test_the_lease_of_a_refused_key_ends_when_it_would_have_however_often_the_other_is_renewed(
    two: Two, renewals: int
) -> None:
    given = two.stored
    end = given.stored_at + LENGTH
    undecidable(two)
    for number in range(1, renewals + 1):
        await two.at(given.stored_at + number * (LENGTH - TICK) / renewals)
        await two.ask()
        assert two.stored.stored_at > given.stored_at
    kept = two.stored.model
    assert (kept.until, kept.keys[KEY]) == ({KEY: end}, given.model.keys[KEY])
    assert [two.is_live(KEY, end + MARGIN + late) for late in (timedelta(), TICK)] == [True, False]
    assert await two.may_use(KEY)
    await two.at(end)
    assert (await two.may_use(KEY), await two.may_use(OTHER)) == (False, True)


async def test_what_is_over_of_a_refused_key_is_live_for_nobody(two: Two) -> None:
    end = two.stored.stored_at + LENGTH
    undecidable(two)
    for later in (end + TICK, end + LENGTH, end + timedelta(days=1)):
        await two.at(later)
        await two.ask()
        assert two.stored.model.until == {KEY: end}
        assert await two.may_use(OTHER)
        assert not await two.may_use(KEY)
        assert two.is_live(KEY, later) == (later <= end + MARGIN)


async def test_who_had_the_lease_to_go_over_within_gets_no_second_one_once_it_is_over(two: Two) -> None:
    """It is remembered for as long as the instance renews the other key."""
    await two.desk.made(2)
    two.desk.scene.deactivated(1)
    two.receipt = await two.desk.receipt(two.asker, 1, 2)
    two.protects(1)
    assert set((await two.ask()).keys) == set(BOTH), "the one to go over within"
    for _ in range(3):
        answer = await two.ask()
        assert "orders-db@1 is deactivated" in answer.refused[KEY].message
        await two.at(two.stored.stored_at + 2 * LENGTH)
    two.protects(2)
    assert set((await two.ask()).keys) == set(BOTH)
    assert two.stored.model.until == {}


async def test_a_key_that_was_refused_is_given_again_as_if_it_were_new(two: Two) -> None:
    """Nobody who decides must have waited for it in between: a version that is not active yet is proved too."""
    scene = two.desk.scene
    await two.desk.made(2, activated=False)
    assert set((await two.ask()).keys) == set(BOTH), "in a renewal it may be proved later"
    scene.activated(2)
    await two.ask()
    scene.generated(3, scene.requested(3))
    assert "orders-db@2 is not proved" in (await two.ask()).refused[KEY].message
    two.receipt = await two.desk.receipt(two.asker, 1, 2)
    assert "orders-db@3 is not proved" in (await two.ask()).refused[KEY].message
    assert two.is_live(KEY, datetime.now(UTC)), "though it runs still"


async def test_a_request_that_a_newer_one_has_overtaken_takes_no_key_away_of_which_the_instance_was_told(
    two: Two,
) -> None:
    """A slow replica handles it when another one has given the lease for a key that joined since."""
    slow = two.request(keys=(OTHER,))
    answer = await two.ask()
    told = two.stored
    assert set((await two.desk.leasing.lease(slow)).keys) == {OTHER}
    kept = two.stored.model
    assert (kept.keys[KEY], kept.until) == (told.model.keys[KEY], {KEY: told.stored_at + LENGTH})
    two.told = answer.nonce
    assert set((await two.ask()).keys) == set(BOTH)


async def test_a_key_that_is_not_asked_for_any_more_is_waited_for_until_the_next_request_of_who_was_told(
    two: Two,
) -> None:
    await two.ask(keys=(OTHER,))
    assert set(two.stored.model.keys) == {OTHER}


async def test_nothing_is_kept_so_for_an_asker_of_the_protocol_before(two: Two) -> None:
    """Services that are brought up to date one after the other read such a lease too."""
    slow = two.request(keys=(OTHER,), protocol=OLDEST_PROTOCOL)
    await two.ask(protocol=OLDEST_PROTOCOL)
    await two.desk.leasing.lease(slow)
    assert (set(two.stored.model.keys), two.stored.model.until) == ({OTHER}, {})


def born(two: Two) -> None:
    two.desk.scene.generated(2, two.desk.scene.requested(2))


async def test_a_key_that_is_refused_once_it_is_stored_is_not_told_and_nothing_that_is_renewed(
    two: Two,
) -> None:
    """The joiner's race (decision 0052): whoever decides now may have read the leases before this one stood there."""
    joiner = Two(two.desk, two.desk.scene.asker(), two.receipt)
    joiner.receipt = await two.desk.receipt(joiner.asker, 1)
    two.desk.scene.server.once("after", joiner.where, lambda: born(joiner))
    answer = await joiner.ask()
    assert (set(answer.keys), set(answer.refused)) == ({OTHER}, {KEY})
    stored = joiner.stored
    assert stored.model.nonce == answer.nonce
    assert joiner.is_live(KEY, stored.stored_at), "waited for, at worst for nothing"
    again = await joiner.ask()
    assert "orders-db@2 is not proved" in again.refused[KEY].message
    assert OTHER in again.keys
    assert joiner.stored.model.until == stored.model.until


async def test_what_is_told_beside_such_a_refusal_is_what_the_next_request_renews(two: Two) -> None:
    """They may lack what a renewal may lack, in this one and in the next."""
    await two.desk.made(2, activated=False)
    two.desk.scene.server.once("after", two.where, lambda: two.desk.scene.unheard_of(OTHER))
    for _ in range(2):
        answer = await two.ask()
        assert (set(answer.keys), set(answer.refused)) == ({KEY}, {OTHER})
        assert answer.keys[KEY].versions == (1,)


async def test_an_asker_of_the_protocol_before_is_refused_as_a_whole(two: Two) -> None:
    before = two.stored
    undecidable(two)
    with pytest.raises(UndecidableKeyError, match="orders-db"):
        await two.ask(protocol=OLDEST_PROTOCOL)
    with pytest.raises(NotFoundError, match="no-key"):
        await two.ask(protocol=OLDEST_PROTOCOL, keys=(OTHER, "no-key"))
    assert two.stored == before


async def test_it_is_so_too_if_a_key_is_refused_once_it_is_stored(two: Two) -> None:
    two.told = None
    two.desk.scene.server.once("after", two.where, lambda: born(two))
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await two.ask(protocol=OLDEST_PROTOCOL)


@pytest.mark.parametrize(
    ("protocol", "happens", "found"),
    [
        pytest.param(PROTOCOL, None, LeaseAnswer, id="all is given"),
        pytest.param(PROTOCOL, undecidable, LeaseAnswer, id="one is refused"),
        pytest.param(OLDEST_PROTOCOL, None, LeaseAnswerOfProtocol2, id="the protocol before: all is given"),
        pytest.param(OLDEST_PROTOCOL, undecidable, RefusalAnswer, id="the protocol before: one is refused"),
    ],
)
async def test_each_protocol_reads_the_answer_to_it(
    two: Two, protocol: int, happens: Callable[[Two], None] | None, found: type[Answer]
) -> None:
    if happens:
        happens(two)
    request = two.request(protocol=protocol)
    data, _ = await two.desk.requests.on_request(*two.asker.bytes_of(request))
    own: type[Answer] = LeaseAnswer if protocol == PROTOCOL else LeaseAnswerOfProtocol2
    assert isinstance(open_answer(data, two.desk.scene.trust, request, (own,)), found)
