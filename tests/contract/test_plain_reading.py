"""The service without the SDK reads on whatever one message is: the other one still counts, and so does the next time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import pytest
from faststream.nats import NatsBroker

from deploy.environments import ROOT
from rekey_core.contracts import Notice, Stop
from rekey_core.envelope import BusMessage, signed_again
from rekey_core.names import Service
from tests.system.plain_dependent import Contract, Dependent
from tests.unit.rekey.test_resumed import FIRST, OTHER, W, notice
from tests.unit.rekey.world import ENV, KEY, NOW, World

CONTRACT = Contract(json.loads((ROOT / "deploy" / "asyncapi.json").read_text()), ENV, "orders")
SETTINGS = {"trust_genesis": W.genesis, "env": ENV, "dependent": "orders"}
NTC, STOP = CONTRACT.subject("ntc", key=KEY), CONTRACT.subject("stop", key=KEY)
TRUST = CONTRACT.subject("trust", n="1")
AUTHOR: Mapping[type, Service] = {Notice: Service.DISTRIBUTOR, Stop: Service.REVOCATION}
PLACE: Mapping[type, str] = {Notice: NTC, Stop: STOP}
Answer = tuple[Mapping[str, str], bytes]


def answer(message: BusMessage, **headers: str) -> Answer:
    """A stored message as DIRECT.GET gives it."""
    place = {"Nats-Subject": message.subject, "Nats-Sequence": "2", "Nats-Time-Stamp": NOW.isoformat()}
    return dict(message.headers) | place | headers, message.data


def of(world: World, model: Notice | Stop) -> Answer:
    """The message, signed by its author."""
    return answer(world.stored(model, AUTHOR[type(model)]))


def saying(model: Notice | Stop, body: bytes) -> Answer:
    """Its author signed this instead."""
    headers, _ = of(W, model)
    return signed_again(headers, body, W.services[AUTHOR[type(model)]]), body


@dataclass
class Line:
    """The bus and a connection to it: what lies on the subjects; nobody answers for those that are away."""

    stored: dict[str, Answer]
    away: set[str] = field(default_factory=set)
    _asked: str = ""

    @property
    def connection(self) -> Line:
        return self

    def new_inbox(self) -> str:
        return "_INBOX_orders.1"

    async def subscribe(self, _: str) -> Line:
        return self

    async def publish(self, subject: str, *, reply: str) -> None:
        assert reply == self.new_inbox()
        self._asked = subject.removeprefix("JSC.API.DIRECT.GET.").partition(".")[2]

    async def next_msg(self, _: float) -> Any:
        if self._asked in self.away:
            raise nats.errors.TimeoutError
        headers, data = self.stored.get(self._asked, ({"Status": "404"}, b""))
        return SimpleNamespace(headers=headers, data=data)

    async def unsubscribe(self) -> None:
        """Nothing more comes."""


@pytest.fixture
def line() -> Line:
    trust = BusMessage("TRUST", TRUST, {}, W.signed_trust.model_dump_json().encode(), 1, NOW)
    return Line({TRUST: answer(trust)})


@pytest.fixture
def dependent(line: Line) -> Dependent:
    return Dependent(cast("NatsBroker", line), CONTRACT, SETTINGS)  # as much of it as is used


def said(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, object]]:
    """The events that were written, and of which version."""
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [(line["event"], line.get("version")) for line in lines]


STOPPED = notice(stopped=(FIRST,))
A_STOP = W.stop(W.stopped(1, FIRST))


def without(found: Answer, header: str) -> Answer:
    return {name: value for name, value in found[0].items() if name != header}, found[1]


BAD = [
    pytest.param(lambda model: of(OTHER, model), id="signed by another"),
    pytest.param(lambda model: saying(model, b"[]"), id="signed, but no object"),
    pytest.param(lambda model: saying(model, b"{}"), id="signed, but empty"),
    pytest.param(lambda model: without(of(W, model), "ce-type"), id="without a type"),
    pytest.param(lambda model: without(of(W, model), "ce-dssesignature"), id="without a signature"),
    pytest.param(lambda model: (of(W, model)[0], b"{"), id="a torn body"),
    pytest.param(lambda model: ({**of(W, model)[0], "ce-dssesignature": "ä"}, b""), id="no base64url"),
    pytest.param(lambda _: ({"Status": "503"}, b""), id="nobody answers"),
]


@pytest.mark.parametrize("spoilt", BAD)
@pytest.mark.parametrize(
    ("bad", "good"),
    [pytest.param(A_STOP, STOPPED, id="the stop"), pytest.param(STOPPED, A_STOP, id="the notice")],
)
def test_a_message_that_is_refused_keeps_the_other_from_nothing(
    line: Line, dependent: Dependent, capsys: pytest.CaptureFixture[str], bad: Any, good: Any, spoilt: Any
) -> None:
    line.stored |= {PLACE[type(bad)]: spoilt(bad), PLACE[type(good)]: of(W, good)}
    asyncio.run(dependent.read(KEY))
    assert said(capsys) == [("refused", None), ("stopped", 1)]


@pytest.mark.parametrize("status", ["204", "404", "503"])
def test_no_status_that_an_author_writes_hides_a_message(
    line: Line, dependent: Dependent, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    line.stored[STOP] = answer(W.stored(A_STOP, Service.REVOCATION), Status=status)
    asyncio.run(dependent.read(KEY))
    assert said(capsys) == [("stopped", 1)]


def test_a_key_that_could_not_be_read_at_first_is_read_again(
    line: Line, dependent: Dependent, capsys: pytest.CaptureFixture[str]
) -> None:
    line.stored |= {NTC: of(W, notice())}
    line.away = {NTC, STOP}
    asyncio.run(dependent.read(KEY))
    assert said(capsys) == [("refused", None), ("refused", None)]
    line.away = set()
    asyncio.run(dependent.read_all())
    assert said(capsys) == [("rotated", 1)]


def test_a_trust_document_that_is_none_ends_no_reading_for_good(
    line: Line, dependent: Dependent, capsys: pytest.CaptureFixture[str]
) -> None:
    line.stored[STOP], document = of(W, A_STOP), line.stored[TRUST]
    line.stored[TRUST] = (document[0], b"{}")
    asyncio.run(dependent.read_all())
    asyncio.run(dependent.read(KEY))
    assert said(capsys) == [("refused", None)]
    line.stored[TRUST] = document
    asyncio.run(dependent.read_all())
    assert said(capsys) == [("stopped", 1)]


def test_a_stop_of_its_author_that_says_nothing_keeps_the_notice_from_nothing(
    line: Line, dependent: Dependent, capsys: pytest.CaptureFixture[str]
) -> None:
    line.stored |= {STOP: saying(A_STOP, json.dumps({"env": ENV, "key": KEY}).encode()), NTC: of(W, STOPPED)}
    asyncio.run(dependent.read(KEY))
    assert said(capsys) == [("refused", None), ("stopped", 1)]
