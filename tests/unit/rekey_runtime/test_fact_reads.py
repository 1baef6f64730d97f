"""What is asked while an answer is on its way is asked next, in one question; the answers are those of each alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import RotationRequested
from rekey_core.envelope import BusMessage
from rekey_core.errors import StaleReadError, UnavailableError
from rekey_core.names import Service
from rekey_core.next_fact import next_fact
from rekey_core.signing import SigningKey
from rekey_runtime.fact_reads import MAX_KEYS, FactReads, Gathering
from rekey_runtime.keylog import KeyLog
from rekey_runtime.settings import ServiceSettings
from tests.fakes.memory_bus import MOST_SUBJECTS, MemoryBus, MemoryServer
from tests.fakes.scene import KEY, Scene
from tests.unit.world import ENV


@dataclass
class Oracle:
    """Answers once it is let."""

    ends: list[BaseException] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, questions: Sequence[str]) -> Mapping[str, str]:
        """The same in capitals; of "nothing" nothing."""
        self.asked.append(list(questions))
        await self.open.wait()
        if self.ends:
            raise self.ends.pop(0)
        return {question: question.upper() for question in questions if question != "nothing"}


async def asked(gathering: Gathering[str, str], *questions: str) -> list[asyncio.Task[str | None]]:
    tasks = [asyncio.create_task(gathering.answer(question)) for question in questions]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_while_an_answer_is_on_its_way_gets_one_to_a_later_question() -> None:
    oracle = Oracle()
    gathering = Gathering(oracle.ask, most=2)
    tasks = await asked(gathering, "a")
    tasks += await asked(gathering, "a", "b", "b", "nothing")
    oracle.open.set()
    assert await asyncio.gather(*tasks) == ["A", "A", "B", "B", None]
    assert oracle.asked == [["a"], ["a", "b"], ["nothing"]]


async def test_an_error_is_that_of_those_who_were_in_the_question() -> None:
    oracle = Oracle(ends=[StaleReadError("cut short", hint="again")])
    gathering = Gathering(oracle.ask, most=10)
    tasks = await asked(gathering, "a", "b")
    tasks += await asked(gathering, "c")
    oracle.open.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, StaleReadError)
    assert isinstance(second, StaleReadError)
    assert (str(first), first.hint, first is second, third) == ("cut short", "again", False, "C")


async def test_who_stops_waiting_stops_nobody_else() -> None:
    oracle = Oracle()
    tasks = await asked(Gathering(oracle.ask, most=10), "a", "a", "b")
    tasks[0].cancel()
    oracle.open.set()
    said = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(said[0], asyncio.CancelledError)
    assert said[1:] == ["A", "B"]


class CountingBus(MemoryBus):
    """Remembers what it was asked."""

    def __init__(self, server: MemoryServer, settings: ServiceSettings, signer: SigningKey) -> None:
        super().__init__(server, settings, signer)
        self.questions: list[Mapping[str, object]] = []

    async def _direct(
        self, stream: Stream, question: Mapping[str, object], *, paged: bool = False
    ) -> list[BusMessage]:
        self.questions.append(question)
        return await super()._direct(stream, question, paged=paged)


def key_of(number: int) -> str:
    return f"key-{number}"


def filled(scene: Scene, facts: Mapping[str, int]) -> None:
    """So many messages in the place of facts."""
    for key, count in facts.items():
        for version in range(1, count + 1):
            subject = Subjects(ENV).fact(key, version, "generator", "generated", "0" * 32)
            scene.server.store(subject, b"", {})


SIZES = {
    "every key in one question": [3] * 5,
    "more keys than one question has": [1] * (MAX_KEYS + 2),
    "together more than one answer may hold": [MOST_SUBJECTS // 2 + 1, 2, MOST_SUBJECTS // 2],
    "one alone is more than one answer may hold": [2, MOST_SUBJECTS + 1, 3, 0],
}


@pytest.mark.parametrize("counts", SIZES.values(), ids=SIZES)
async def test_each_key_gets_its_own_facts_and_all_of_them(tmp_path: Path, counts: Sequence[int]) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    filled(scene, {key_of(number): count for number, count in enumerate(counts)})
    bus = await scene.bus(Service.AUDIT)
    reads = FactReads(bus)
    found = await asyncio.gather(*(reads.of_key(key_of(n), start=1) for n in range(len(counts))))
    for number, messages in enumerate(found):
        assert messages == await bus.read_many(Stream.LIFECYCLE, [f"evt.{ENV}.{key_of(number)}.>"])
        assert len(messages) == counts[number]


async def test_many_keys_are_one_question(tmp_path: Path) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    filled(scene, {key_of(number): 2 for number in range(5)})
    plain = await scene.bus(Service.AUDIT)
    bus = CountingBus(plain.server, plain.settings, plain.signer)
    reads = FactReads(bus)
    await asyncio.gather(*(reads.of_key(key_of(number), start=1) for number in range(5)))
    await asyncio.gather(*(reads.at(sequence) for sequence in (1, 2, 3, 7, 8)))
    assert bus.questions == [
        {"multi_last": [f"evt.{ENV}.{key_of(number)}.>" for number in range(5)]},
        {"seq": 1, "batch": 3},
        {"seq": 7, "batch": 2},
    ]


async def test_what_stands_at_a_place_is_found_unless_whoever_answers_is_behind(tmp_path: Path) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    filled(scene, {KEY: 5})
    reads = FactReads(await scene.bus(Service.AUDIT))
    messages = scene.server.messages(Stream.LIFECYCLE)
    scene.server.lag_behind[Stream.LIFECYCLE] = messages[3].sequence
    found = await asyncio.gather(*(reads.at(message.sequence) for message in messages))
    assert found == [*messages[:4], None]


async def test_a_fact_is_read_back_from_the_leader_where_a_replica_is_behind(tmp_path: Path) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    scene.registered()
    keylog = KeyLog(await scene.bus(Service.ROTATION_SCHEDULER))
    state = await keylog.state(KEY)
    scene.server.lag_behind[Stream.LIFECYCLE] = state.last_sequence
    said = next_fact(state, RotationRequested, "time-again", 1, datetime.now(UTC))
    stored = await keylog.append(state, RotationRequested(**said, reason="time", deadline=datetime.now(UTC)))
    assert stored.sequence == scene.server.messages(Stream.LIFECYCLE)[-1].sequence


async def test_a_key_cannot_be_read_while_nobody_answers(tmp_path: Path) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    reads = FactReads(await scene.bus(Service.AUDIT))

    def away() -> None:
        raise UnavailableError("nobody answers")

    scene.server.once("read", f"evt.{ENV}.{KEY}.>", away)
    with pytest.raises(UnavailableError, match="nobody answers"):
        await reads.of_key(KEY, start=1)
