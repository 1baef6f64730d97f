"""Who was away comes back, and who comes or goes while a rotation is under way neither holds it up nor is forgotten.

Leases last LEASE_S here (``dev_lease_divisor``): long enough to hold a phase open, short enough to see one end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import Count, Register, Suspend
from rekey_core.fold import KeyState
from rekey_core.policy import class_named
from rekey_local.settings import instance_settings
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.faults.many_keys import many_keys
from tests.faults.phases import PHASES, Rotation
from tests.system.bus import ANSWER_S
from tests.system.instances import AAD, Replica, a_process, ask, replica, said
from tests.system.stack import RunningStack, running_stack

DIVISOR: Final = 6
LEASE_S: Final = class_named("application-data").lease_s / DIVISOR
USED: Final = 3  # of the keys by the instance that was off
CRYPTOPERIOD_S: Final = 1
USED_CRYPTOPERIOD_S: Final = 3
MORE: Final = 2  # rotations of each key that it follows once it is back
LIMIT_S: Final = 600.0
WITHIN_S: Final = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("catching-up"), registered=False, instances=False) as running:
        running.hold("distributor")
        with (running.layout.service("distributor") / "settings.toml").open("a") as settings:
            settings.write(f"dev_lease_divisor = {DIVISOR}\n")
        running.release("distributor")
        yield running


@dataclass(frozen=True)
class Ended:
    """A rotation that replicas came into and went from, and who was who."""

    state: KeyState
    stayed: str
    came: str
    left: str
    was_open: bool  # the phase was still the same when the last of them had come


@pytest.fixture(scope="module")
def ended(stack: RunningStack) -> Mapping[str, Ended]:
    """One rotation for each phase, each of a key of its own."""
    return asyncio.run(_rotations(stack))


async def _rotations(stack: RunningStack) -> Mapping[str, Ended]:
    """One after the other comes to its phase; they end together, when the leases of the dead have."""
    keys = {phase.__name__: a_key() for phase in PHASES}
    async with intruder(stack) as people, AsyncExitStack() as members:
        await asyncio.gather(*(people.registered(key) for key in keys.values()))
        settings = instance_settings(stack.layout, "orders", 1)
        slow = {name: members.enter_context(a_process(settings, key)) for name, key in keys.items()}
        for process in slow.values():
            assert await asyncio.to_thread(said, process) == "ready"
        stays = instance_settings(stack.layout, "billing", 1)
        stayed = await members.enter_async_context(replica(stays, list(keys.values())))
        cast: dict[str, tuple[Replica, Replica, bool]] = {}
        for phase in PHASES:
            name = phase.__name__
            rotation = Rotation(stack, people, keys[name], slow[name])
            async with AsyncExitStack() as leaving:
                left = await leaving.enter_async_context(replica(settings, [rotation.key]))
                async with phase(rotation):
                    before = await people.state(rotation.key)
                    came = await members.enter_async_context(replica(settings, [rotation.key]))
                    async with replica(settings, [rotation.key]):
                        rotation.slow.send_signal(signal.SIGKILL)
                    await leaving.aclose()
                    after = await people.state(rotation.key)
            cast[name] = (came, left, before.last_sequence == after.last_sequence)
        states = await asyncio.gather(
            *(people.until(key, _is_over, within_s=WITHIN_S) for key in keys.values())
        )
        await _work_on(stayed, *(came for came, _, _ in cast.values()))
        return {
            name: Ended(state, stayed.keys.instance, came.keys.instance, left.keys.instance, was_open)
            for state, (name, (came, left, was_open)) in zip(states, cast.items(), strict=True)
        }


def _is_over(state: KeyState) -> bool:
    return 2 in state.versions and state.current == 2 and state.versions[1].deactivated is not None


async def _work_on(*replicas: Replica) -> None:
    """Nothing failed so far, and nothing fails; everybody reads what the one that stayed has written."""
    until = {id(one): one.calls + 20 for one in replicas}
    async with asyncio.timeout(WITHIN_S):
        while any(one.calls < until[id(one)] for one in replicas):  # noqa: ASYNC110 - they count, and tell nobody
            await asyncio.sleep(0.05)
    stayed, *others = replicas
    for one in others:
        for key, box in one.boxes.items():
            assert box.decrypt(stayed.newest[key], AAD) == b"data"
            assert stayed.boxes[key].decrypt(one.newest[key], AAD) == b"data"
    assert [said for one in replicas for said in one.failed] == []


def _counted(counts: tuple[Count, ...]) -> set[str]:
    return {instance for count in counts for instance in count.instances}


@pytest.mark.parametrize("phase", [phase.__name__ for phase in PHASES])
def test_replicas_may_come_go_and_die_in_every_phase(ended: Mapping[str, Ended], phase: str) -> None:
    it = ended[phase]
    new, old = it.state.versions[2], it.state.versions[1]
    assert it.was_open
    assert it.state.voids == ()
    assert new.activated is not None
    assert old.deactivated is not None
    assert {it.stayed, it.came} <= _counted(old.deactivated.model.proved), "who came was waited for"
    assert it.left not in _counted(old.deactivated.model.proved), "who left was not"
    before_it_was_active = phase in {"distributing", "activating"}
    assert (it.came in _counted(new.activated.model.proved)) is before_it_was_active
    assert not [
        count.waived for count in (*new.activated.model.proved, *old.deactivated.model.proved) if count.waived
    ]


@pytest.mark.parametrize(
    ("facts", "count"),
    [
        pytest.param(60, 5, id="60 of 5 keys"),
        pytest.param(10_000, 60, id="10,000 of 60 keys", marks=pytest.mark.matrix),
    ],
)
async def test_who_was_off_for_many_facts_catches_up(stack: RunningStack, facts: int, count: int) -> None:
    """Two were: one that had ended, and one that stood still for longer than its lease. Keys rotate all the time."""
    settings = instance_settings(stack.layout, "orders", 2)
    async with intruder(stack) as people:
        keys = [a_key("orders-ticks") for _ in range(count)]
        periods = [USED_CRYPTOPERIOD_S if at < USED else CRYPTOPERIOD_S for at in range(count)]
        await asyncio.gather(*map(_ticking, [people] * count, keys, periods))
        with a_process(settings, keys[0]) as suspended:
            assert await asyncio.to_thread(said, suspended) == "ready"
            async with replica(settings, keys[:USED]) as before:
                first = await _last_sequence(people)
            suspended.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            while await _last_sequence(people) < first + facts or time.monotonic() < began + LEASE_S:
                assert time.monotonic() < began + LIMIT_S, "the keys do not rotate"
                await asyncio.sleep(0.1)
            went = time.monotonic()
            suspended.send_signal(signal.SIGCONT)
            async with replica(settings, keys[:USED]) as back:
                ready = time.monotonic()
                for key, box in back.boxes.items():
                    assert box.decrypt(before.newest[key], AAD) == b"data"
                await asyncio.to_thread(_recovers, stack, suspended)
                current = {key: (await people.state(key)).current or 0 for key in keys}
                await asyncio.gather(*(_reaches(people, key, current[key] + MORE) for key in keys))
                answers = {await asyncio.to_thread(ask, suspended) for _ in range(20)}
            assert (before.failed, back.failed, answers) == ([], [], {"ok"})
            held = len(back.keys.status()[keys[0]].held)
            sys.stdout.write(f"{facts} facts of {count} keys in {went - began:.1f} s; ")
            sys.stdout.write(f"{USED} keys, {held} versions of the first: ready in {ready - went:.2f} s\n")
        for key in keys:
            await people.give(people.command(Suspend, "rita", key, version=0))
        states = [await people.until(key, lambda s: s.current is None, within_s=WITHIN_S) for key in keys]
        assert [state.voids for state in states if state.voids] == []


async def test_a_process_with_more_keys_than_a_receipt_has_room_for_is_several_instances(
    stack: RunningStack,
) -> None:
    await many_keys(stack, 13, "token-signing")


async def _ticking(people: Intruder, key: str, cryptoperiod_s: int) -> None:
    said = {"key_class": "application-data", "purpose": "changes often", "dependents": ("orders",)}
    await people.give(people.command(Register, "alice", key, cryptoperiod_s=cryptoperiod_s, **said))
    await people.until(key, lambda state: state.current is not None)


async def _reaches(people: Intruder, key: str, version: int) -> None:
    await people.until(key, lambda state: (state.current or 0) >= version, within_s=WITHIN_S)


def _recovers(stack: RunningStack, process: subprocess.Popen[str]) -> None:
    """Until its lease is renewed it says that it has none, or no messages of the version that is current by now."""
    answers: list[str] = []

    def is_ok() -> bool:
        answers.append(ask(process))
        return answers[-1] == "ok"

    stack.until(is_ok, what="the one that stood still")
    assert {said.partition(" ")[0] for said in answers[:-1]} <= {"lease-expired", "quota-exhausted"}


async def _last_sequence(people: Intruder) -> int:
    answer = await people.client.request(f"$JS.API.STREAM.INFO.{Stream.LIFECYCLE}", b"", timeout=ANSWER_S)
    return int(json.loads(answer.data)["state"]["last_seq"])
