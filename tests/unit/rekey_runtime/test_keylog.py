"""Decisions on a kept fold that may be old: the check of an append tells, and the leader confirms everything else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import Fact, RotationRequested
from rekey_core.envelope import Stored
from rekey_core.errors import (
    AlreadyDoneError,
    NotFoundError,
    RekeyError,
    StaleReadError,
    UnknownOutcomeError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_core.next_fact import next_fact
from rekey_runtime.keylog import KeyLog
from tests.fakes.endings import raises
from tests.fakes.scene import KEY, Scene

CHECK = f"evt.dev.{KEY}.>"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(home=tmp_path, transport="0" * 64)
    made.registered()
    return made


async def a_keylog(scene: Scene) -> KeyLog:
    """With the fold of this moment."""
    keylog = KeyLog(await scene.bus(Service.ROTATION_SCHEDULER))
    await keylog.state(KEY)
    return keylog


def requested(state: KeyState) -> Fact:
    said = next_fact(state, RotationRequested, "time-again", state.next_version(), datetime.now(UTC))
    return RotationRequested(**said, reason="time", deadline=datetime.now(UTC))


async def test_a_fact_is_decided_on_the_kept_fold_without_a_question(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    order: list[str] = []
    scene.server.once("read", CHECK, lambda: order.append("read"))
    scene.server.once("after", CHECK, lambda: order.append("stored"))
    await keylog.decide(KEY, requested)
    assert order == ["stored"], "what was stored is read back by its place, and nothing else"
    assert (await keylog.state(KEY)).in_motion() == 1


async def test_a_fact_decided_on_an_old_fold_is_decided_again_on_what_is_there(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    scene.version(1)
    looked: list[int] = []

    def decide(state: KeyState) -> Fact:
        looked.append(state.last_sequence)
        return requested(state)

    await keylog.decide(KEY, decide)
    state = await keylog.state(KEY)
    assert (len(looked), looked[0] < looked[1], state.voids, state.in_motion()) == (2, True, (), 2)
    assert state == await KeyLog(await scene.bus(Service.AUDIT)).state(KEY), "a fold from nothing differs"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(NotFoundError("no such version"), id="it is not there"),
        pytest.param(AlreadyDoneError("done"), id="it is done"),
        pytest.param(StaleReadError("not folded yet"), id="the fold has not got there"),
    ],
)
async def test_no_error_counts_that_an_old_fold_gave(scene: Scene, error: RekeyError) -> None:
    keylog = await a_keylog(scene)
    scene.requested(1)

    def decide(state: KeyState) -> Fact | None:
        if 1 not in state.versions:
            raise error
        return None

    assert await keylog.decide(KEY, decide) is None
    with pytest.raises(type(error)):
        await keylog.decide("another-key", decide)


async def test_that_nothing_is_to_be_done_is_not_believed_of_an_old_fold(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    scene.version(1)

    def decide(state: KeyState) -> Fact | None:
        return requested(state) if state.versions else None

    stored = await keylog.decide(KEY, decide)
    assert stored is not None
    assert stored.model.version == 2


async def test_after_a_conflict_only_what_is_newer_is_folded(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    before = await keylog.state(KEY)
    scene.version(1)
    await keylog.decide(KEY, requested)
    after = await keylog.state(KEY)
    assert after.registered is before.registered, "the same object: it was not read and verified again"
    assert after.versions[1].state is VersionState.ACTIVE


async def test_what_is_said_last_is_not_read_back_and_whoever_decides_next_sees_it(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    before = await keylog.state(KEY)
    scene.server.once("after", CHECK, lambda: scene.server.once("read", ">", lambda: asked.append(True)))
    asked: list[bool] = []
    await keylog.settle(KEY, requested)
    assert not asked, "what the bus acknowledged is stored"
    seen: list[tuple[int, int | None]] = []

    def decide(state: KeyState) -> None:
        seen.append((state.last_sequence, state.in_motion()))

    assert await keylog.decide(KEY, decide) is None
    [stored] = scene.server.messages(Stream.LIFECYCLE, "evt.*.*.1.>")
    assert seen == [(before.last_sequence, None), (stored.sequence, 1)], "the fold without it, then with it"


async def test_a_fold_that_the_bus_does_not_have_any_more_is_thrown_away(scene: Scene) -> None:
    keylog = await a_keylog(scene)
    scene.server.forget(Stream.LIFECYCLE)

    def decide(state: KeyState) -> Fact:
        if state.registered is None:
            raise NotFoundError("no such key")
        return requested(state)

    with pytest.raises(NotFoundError):
        await keylog.decide(KEY, decide)
    assert not scene.server.messages(Stream.LIFECYCLE)


@pytest.mark.parametrize(("more", "asks"), [(0, False), (1, True)], ids=["goes so far", "does not go so far"])
async def test_who_knows_how_far_a_fold_must_go_does_not_ask(scene: Scene, more: int, *, asks: bool) -> None:
    keylog = await a_keylog(scene)
    known = await keylog.state(KEY)
    asked: list[bool] = []
    scene.server.once("read", CHECK, lambda: asked.append(True))
    assert await keylog.state(KEY, reached=known.last_sequence + more) is known
    assert asked == [True] * asks


@pytest.mark.parametrize("moment", ["after", "before"])
async def test_of_a_batch_without_an_answer_each_fact_is_looked_for(scene: Scene, moment: str) -> None:
    keylog, keys = await a_keylog(scene), (KEY, "another-key", "a-third-key")
    scene.server.once(moment, "evt.>", raises(UnknownOutcomeError("no answer")))
    states = [await keylog.state(key) for key in keys]
    facts = [requested(state) for state in states]
    said = await asyncio.gather(
        *(keylog.append(state, fact) for state, fact in zip(states, facts, strict=True)),
        return_exceptions=True,
    )
    if moment == "after":
        assert [one.model for one in said if isinstance(one, Stored)] == facts
    else:
        assert [type(one) for one in said] == [UnknownOutcomeError] * len(keys)
    assert len(scene.server.messages(Stream.LIFECYCLE, "evt.*.*.1.>")) == len(facts) * (moment == "after")
