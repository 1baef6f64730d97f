"""A ledger that began with what the database says: whatever it is asked, it comes to say what one that read all says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rekey_audit import questions
from rekey_audit.ledger import KeyRecord, Ledger
from rekey_audit.recalling import inventory_row, summary_in
from rekey_core.contracts import KeySummary
from rekey_core.fold import fold
from rekey_runtime.database import Row
from tests.unit.rekey_audit.a_log import ENV, KEY, Log

OTHER = "orders-other"


def a_log() -> Log:
    log = Log()
    log.registered()
    log.registered(OTHER)
    log.generated()
    log.append(replace(log.generated(), headers={}), KEY)
    log.delivered()
    return log


def whole(log: Log) -> Ledger:
    ledger, trust = Ledger(ENV), log.trust()
    for message in log.messages:
        ledger.keep(ledger.judge(message, trust))
    return ledger


def recalled(known: Ledger) -> Ledger:
    ledger = Ledger(ENV)
    rows = [inventory_row(record.state) for record in known.keys.values()]
    ledger.recall(known.applied, {row.key: body for row in rows if (body := summary_in(row)) is not None})
    return ledger


def said(record: KeyRecord) -> object:
    """All of a record; errors of void messages by what they say."""
    voids = [(void.sequence, str(void.error), void.validly_signed) for void in record.state.voids]
    return replace(record.state, voids=()), voids, record.entries, record.deliveries


def test_a_key_that_is_read_later_is_known_as_if_it_had_been_read_first() -> None:
    log = a_log()
    all_read, ledger = whole(log), recalled(whole(log))
    trust = log.trust()
    for key in (KEY, OTHER):
        ledger.read(key, [m for m in log.messages if m.subject.split(".")[2] == key], trust)
    assert {k: said(r) for k, r in ledger.keys.items()} == {k: said(r) for k, r in all_read.keys.items()}
    assert ledger.by_cause == all_read.by_cause
    assert ledger.recalled == {}


def test_what_came_after_the_ledgers_place_is_not_read_ahead() -> None:
    log = a_log()
    ledger = recalled(whole(log))
    before = whole(log).keys[OTHER]
    log.generated(1, OTHER)
    ledger.read(OTHER, [m for m in log.messages if m.subject.split(".")[2] == OTHER], log.trust())
    assert said(ledger.keys[OTHER]) == said(before)
    ledger.keep(ledger.judge(log.messages[-1], log.trust()))
    assert said(ledger.keys[OTHER]) == said(whole(log).keys[OTHER])


def test_ls_shows_the_same_before_and_after_a_key_was_read() -> None:
    log = a_log()
    ledger, trust = recalled(whole(log)), log.trust()
    shown = questions.page(whole(log), trust, "alice", None)
    assert [summary.key for summary in shown] == [KEY, OTHER]
    assert questions.page(ledger, trust, "alice", None) == shown
    ledger.read(KEY, [m for m in log.messages if m.subject.split(".")[2] == KEY], trust)
    assert questions.page(ledger, trust, "alice", None) == shown
    assert questions.page(ledger, trust, "otto", None) == ()


def test_a_ledger_that_has_read_something_does_not_begin_elsewhere() -> None:
    with pytest.raises(ValueError, match="has read up to"):
        whole(a_log()).recall(1, {})


def test_a_name_that_nobody_registered_has_an_empty_row() -> None:
    row = inventory_row(fold(ENV, "orders-none", (), Log().trust()))
    assert row == Row("orders-none", 0, "null")
    assert summary_in(row) is None


BAD = [
    pytest.param("", id="nothing"),
    pytest.param("{}", id="no summary"),
    pytest.param('{"key": 1}', id="another type"),
]


@pytest.mark.parametrize("body", BAD)
def test_a_row_that_is_none_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="row of orders-db"):
        summary_in(Row(KEY, 7, body))


def test_a_row_of_another_key_is_refused() -> None:
    row = inventory_row(whole(a_log()).keys[OTHER].state)
    assert isinstance(summary_in(row), KeySummary)
    with pytest.raises(ValueError, match="row of orders-db"):
        summary_in(replace(row, key=KEY))
