"""Who may know what, and what they are told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rekey_audit import questions
from rekey_audit.answers import parse_question
from rekey_audit.ledger import MAX_ALERTS, Ledger
from rekey_core.adoption import adoption
from rekey_core.commands import read_command
from rekey_core.contracts import Alert, Endorsement, KeyReceipt, Lease, LeasedKey, Receipt, Rotate, Signed
from rekey_core.envelope import Stored
from rekey_core.errors import RekeyError
from rekey_core.names import Service
from tests.unit.rekey_audit.a_log import ENV, KEY, START, Log


def read(log: Log) -> Ledger:
    """Everything in the log."""
    ledger, trust = Ledger(ENV), log.trust()
    for message in log.messages:
        ledger.keep(ledger.judge(message, trust))
    return ledger


SCOPES = [
    pytest.param("alice", KEY, None, id="an owner sees a key of hers"),
    pytest.param("adam", KEY, None, id="an auditor sees a key in scope"),
    pytest.param("rita", "other-db", None, id="a responder sees a key in scope"),
    pytest.param("otto", "other-db", None, id="another owner sees his"),
    pytest.param("alice", "orders-none", "not-found", id="a name in scope that is no key is not found"),
    pytest.param("otto", KEY, "not-in-scope", id="another owner's key is refused"),
    pytest.param(
        "otto", "orders-none", "not-in-scope", id="out of scope a name that is no key is refused alike"
    ),
    pytest.param("adam", "other-db", "not-in-scope", id="an auditor's scope ends"),
    pytest.param("oliver", KEY, "not-in-scope", id="a trust officer reads nothing, whatever the scope"),
    pytest.param("nobody", KEY, "authority", id="somebody whom the trust document does not know"),
]


@pytest.mark.parametrize(("person", "key", "code"), SCOPES)
def test_a_key_is_shown_to_those_who_may_know_it(person: str, key: str, code: str | None) -> None:
    log = Log()
    log.registered()
    log.registered("other-db", owner="otto")
    ledger = read(log)
    if code is None:
        assert questions.known(ledger, log.trust(), person, key).state.key == key
    else:
        with pytest.raises(RekeyError) as caught:
            questions.known(ledger, log.trust(), person, key)
        assert caught.value.code == code


def test_ls_shows_what_the_person_may_see_page_by_page() -> None:
    log = Log()
    for key in ("orders-b", "orders-a", "orders-c"):
        log.registered(key)
    log.registered("other-db", owner="otto")
    ledger, trust = read(log), log.trust()
    assert [k.key for k in questions.page(ledger, trust, "alice", None)] == [
        "orders-a",
        "orders-b",
        "orders-c",
    ]
    assert [k.key for k in questions.page(ledger, trust, "rita", "orders-b")] == ["orders-c", "other-db"]
    assert questions.page(ledger, trust, "otto", "other-db") == ()


def test_a_summary_says_state_and_time() -> None:
    log = Log()
    log.registered()
    log.generated()
    activated = log.activated()
    summary = questions.summary(read(log).keys[KEY].state)
    assert (summary.owner, summary.current, summary.dependents) == ("alice", 1, ("billing", "orders"))
    assert [(v.version, v.state, v.key_id) for v in summary.versions] == [(1, "active", 1001)]
    assert summary.rotates_by == activated.stored_at + timedelta(days=90)


def test_of_a_key_with_many_versions_the_one_that_is_named_is_shown_however_old() -> None:
    """Old versions are those that are destroyed, and whose destruction is cancelled."""
    log = Log()
    log.registered()
    log.generated()
    log.activated()
    for number in (2, 3):
        log.requested(number)
        log.generated(number)
        log.activated(number)
    state = read(log).keys[KEY].state
    for named, shown in ((None, [2, 3]), (1, [1, 2, 3]), (3, [2, 3]), (9, [2, 3])):
        assert [v.version for v in questions.summary(state, 2, named).versions] == shown


def test_a_history_that_is_too_long_keeps_the_newest() -> None:
    log = Log()
    log.registered()
    record = read(log).keys[KEY]
    record.entries *= questions.MAX_ENTRIES // 4 + 1
    entries, truncated = questions.history(record)
    assert truncated
    assert len(entries) == questions.MAX_ENTRIES
    assert entries[-1].event == "rotation-requested"


COMMANDS = [
    pytest.param("otto", "otto", True, id="its author may see a command, even for another's key"),
    pytest.param("alice", "otto", True, id="the key's owner may see it"),
    pytest.param("adam", "otto", True, id="an auditor may see it"),
    pytest.param("otto", "alice", False, id="somebody else may not"),
]


@pytest.mark.parametrize(("person", "author", "seen"), COMMANDS)
def test_a_command_is_for_its_author_and_the_keys_readers(person: str, author: str, seen: bool) -> None:  # noqa: FBT001 - a row
    log = Log()
    log.registered()
    command = read_command(log.command(Rotate, author))
    ledger = read(log)
    if seen:
        questions.may_see_command(ledger, log.trust(), person, command)
    else:
        with pytest.raises(RekeyError, match=f"not in the scope of {person}"):
            questions.may_see_command(ledger, log.trust(), person, command)


ENDORSEMENT = Endorsement(
    env=ENV, dependent="orders", instance="0" * 32, instance_key="", issued_at=START, signature=""
)
SIGNED = Signed(type="t", payload="", key_id="", signature="")


def an_instance(
    log: Log, *, stopped: tuple[int, ...], refused: tuple[int, ...]
) -> tuple[Stored[Lease], Stored[Receipt]]:
    """One live instance of orders, and the receipt that it has written just now."""
    lease = Lease(
        env=ENV,
        dependent="orders",
        instance="0" * 32,
        endorsement=ENDORSEMENT,
        nonce="0" * 32,
        at=log.now,
        keys={KEY: LeasedKey(versions=(1,), as_of=0, lease_s=30)},
    )
    held = KeyReceipt(proofs={}, protects=None, stopped=stopped, refused=refused, as_of=0)
    receipt = Receipt(
        env=ENV,
        dependent="orders",
        instance="0" * 32,
        endorsement=ENDORSEMENT,
        n=1,
        at=log.now,
        keys={KEY: held},
    )
    return Stored(lease, 1, log.now, "lse", SIGNED), Stored(receipt, 1, log.now, "rcpt", SIGNED)


STOPS = [
    pytest.param((), (), [False], id="an instance that says nothing has not stopped"),
    pytest.param((1,), (), [False], id="an instance that left the version before has not stopped using it"),
    pytest.param((1,), (1,), [True], id="an instance that refuses the version has stopped"),
    pytest.param((0,), (0,), [True], id="every version includes this one"),
    pytest.param((2,), (2,), [False], id="another version is not this one"),
]


@pytest.mark.parametrize(("stopped", "refused", "expected"), STOPS)
def test_who_has_stopped_is_what_instances_signed(
    stopped: tuple[int, ...], refused: tuple[int, ...], expected: list[bool]
) -> None:
    log = Log()
    log.registered()
    log.generated()
    log.activated()
    log.suspended()
    record = read(log).keys[KEY]
    lease, receipt = an_instance(log, stopped=stopped, refused=refused)
    found = adoption(record.state, 1, [lease], [receipt], [], log.now)
    billing, orders = questions.dependents(record.state, record.state.versions[1], found, [receipt])
    assert billing.instances == ()
    assert [instance.stopped for instance in orders.instances] == expected


SUBJECTS = [
    pytest.param(f"ask.{ENV}.alice", b"{}", "replayed", id="no verb"),
    pytest.param(f"ask.{ENV}.alice.ls.x", b"{}", "replayed", id="more than a verb"),
    pytest.param("ask.prod.alice.ls", b"{}", "replayed", id="another environment"),
    pytest.param(f"ask.{ENV}.Al ice.ls", b"{}", "replayed", id="nobody's name"),
    pytest.param(f"ask.{ENV}.alice.ls", b"{", "schema", id="no question"),
    pytest.param(f"ask.{ENV}.alice.ls", b"{}", "schema", id="a question without a nonce"),
    pytest.param(f"ask.{ENV}.alice.ls", b" " * 5000, "oversized", id="a question that is too long"),
]


@pytest.mark.parametrize(("subject", "data", "code"), SUBJECTS)
def test_what_is_no_question_is_malformed(subject: str, data: bytes, code: str) -> None:
    with pytest.raises(RekeyError) as caught:
        parse_question(subject, data, ENV)
    assert caught.value.code == code


def an_alert(subject: str, hour: int) -> Stored[Alert]:
    """Stored so many hours after the start."""
    at = START + timedelta(hours=hour)
    alert = Alert(
        env=ENV,
        author=Service.AUDIT,
        subject=subject,
        stream="LIFECYCLE",
        sequence=hour,
        code="signature",
        message="x",
        at=at,
    )
    signed = Signed(type=alert.TYPE, payload="AA", key_id="0" * 64, signature="AA")
    return Stored(alert, hour, at, f"rpt.{ENV}.audit.alert.{hour}", signed)


ALERTS = [
    pytest.param("alice", [1], id="an owner sees those about her keys"),
    pytest.param("otto", [2], id="another owner sees his"),
    pytest.param("rita", [1, 2], id="a responder those in scope"),
    pytest.param("adam", [1, 3], id="an auditor those in scope, and those about no key"),
]


@pytest.mark.parametrize(("person", "hours"), ALERTS)
def test_alarms_are_shown_by_scope_and_counted_for_everybody(person: str, hours: list[int]) -> None:
    log = Log()
    log.registered()
    log.registered("other-db", owner="otto")
    ledger = read(log)
    for hour, subject in enumerate((f"evt.{ENV}.{KEY}.1.generator.generated.x",) * 2, start=0):
        ledger.alerted(an_alert(subject, hour))
    ledger.alerted(an_alert(f"evt.{ENV}.other-db.1.generator.generated.x", 2))
    ledger.alerted(an_alert("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.REPORTS.audit-reports", 3))
    recent = questions.alerts_since(ledger, START + timedelta(hours=1))
    assert [alert.sequence for alert in recent] == [1, 2, 3]
    seen = questions.seen_alerts(ledger, log.trust(), person, recent)
    assert [alarm.sequence for alarm in seen] == hours


def test_an_alarm_that_is_said_again_is_one_and_a_flood_is_bounded() -> None:
    ledger = Ledger(ENV)
    for _ in range(2):
        ledger.alerted(an_alert("evt.dev.k.1.x", 1))
    assert len(ledger.alerts) == 1
    for hour in range(MAX_ALERTS + 5):
        ledger.alerted(an_alert("evt.dev.k.1.x", hour))
    assert len(ledger.alerts) == MAX_ALERTS


@pytest.mark.parametrize("person", ["oliver", "nobody"])
def test_figures_are_not_for_who_may_see_no_key(person: str) -> None:
    with pytest.raises(RekeyError, match=person):
        questions.may_ask(Log().trust(), person)
