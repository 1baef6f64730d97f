"""The ledger: what is a valid fact, what is a finding, and that no message stops the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rekey_audit.ledger import Judged, Ledger
from rekey_core.contracts import VERBS, Alert, Refusal, Rotate, RotationRequested, SignedCommand
from rekey_core.envelope import BusMessage
from rekey_core.names import Service
from tests.unit.rekey_audit.a_log import ENV, KEY, START, Log


def read(log: Log) -> tuple[Ledger, list[Judged]]:
    """Everything in the log, judged and kept."""
    ledger, trust, judged = Ledger(ENV), log.trust(), []
    for message in log.messages:
        judged.append(ledger.judge(message, trust))
        ledger.keep(judged[-1])
    return ledger, judged


def codes(judged: list[Judged]) -> list[str]:
    """The findings."""
    return [j.finding.code for j in judged if j.finding is not None]


def test_a_key_with_valid_facts_has_no_findings() -> None:
    log = Log()
    cause = log.registered()
    log.generated()
    log.delivered()
    log.activated()
    log.delivered(dependent="billing")
    ledger, judged = read(log)
    assert codes(judged) == []
    assert ledger.keys[KEY].state.current == 1
    assert [entry.event for entry in ledger.by_cause[cause]] == [
        "registered",
        "granted",
        "granted",
        "rotation-requested",
    ]
    assert [entry.person for entry in ledger.keys[KEY].entries] == ["alice", "alice", "alice", *[None] * 6]
    assert len(ledger.keys[KEY].deliveries) == 2
    assert ledger.applied == len(log.messages)


def changed_body(log: Log) -> BusMessage:
    """A fact whose bytes are not the ones that were signed."""
    good = log.generated()
    log.messages.pop()
    return replace(good, data=good.data.replace(b"AES-256-GCM", b"AES-256-gcm"))


def headers(**changes: str | None) -> Callable[[Log], BusMessage]:
    """A fact with headers changed or left out."""

    def hostile(log: Log) -> BusMessage:
        good = log.generated()
        log.messages.pop()
        kept = {**good.headers, **{name: value for name, value in changes.items() if value is not None}}
        return replace(
            good, headers={name: value for name, value in kept.items() if changes.get(name, "") is not None}
        )

    return hostile


def elsewhere(change: Callable[[str], str]) -> Callable[[Log], BusMessage]:
    """A validly signed fact on another subject."""

    def hostile(log: Log) -> BusMessage:
        good = log.generated()
        log.messages.pop()
        return replace(good, subject=change(good.subject))

    return hostile


def raw(
    data: bytes, subject: str = f"evt.{ENV}.{KEY}.1.generator.generated.0123456789abcdef"
) -> Callable[[Log], BusMessage]:
    """Bytes that nobody signed."""
    return lambda log: BusMessage(
        "LIFECYCLE", subject, {"ce-type": "x"} if log.messages else {}, data, 0, START
    )


HOSTILE = [
    pytest.param(raw(b"{"), "signature", id="malformed bytes without a signature"),
    pytest.param(raw(b"x" * 300_000), "oversized", id="a body larger than any message"),
    pytest.param(changed_body, "signature", id="a body that was changed after it was signed"),
    pytest.param(headers(**{"ce-dssesignature": None}), "signature", id="an unsigned fact"),
    pytest.param(
        headers(**{"ce-dssekeyid": "0" * 32}), "wrong-author", id="a fact signed with a key that is nobody's"
    ),
    pytest.param(
        headers(**{"ce-type": "rekey.key.generated.v2"}),
        "signature",
        id="a type that the signature does not cover",
    ),
    pytest.param(
        elsewhere(lambda s: s.replace(".generator.", ".revocation.")),
        "wrong-author",
        id="a fact under another service",
    ),
    pytest.param(
        elsewhere(lambda s: s.replace(".1.", ".2.")), "replayed", id="a fact on another version's subject"
    ),
    pytest.param(
        elsewhere(lambda s: s.replace(KEY, "orders-other")), "replayed", id="a fact on another key's subject"
    ),
    pytest.param(elsewhere(lambda _: f"evt.{ENV}"), "replayed", id="a subject that names no key"),
    pytest.param(raw(b"{}", f"evt.{ENV}.NOT A KEY.x"), "replayed", id="a subject whose key is not a name"),
]


@pytest.mark.parametrize(("make", "code"), HOSTILE)
def test_a_hostile_message_is_a_finding_and_the_next_fact_is_taken(
    make: Callable[[Log], BusMessage], code: str
) -> None:
    log = Log()
    log.registered()
    hostile = make(log)
    log.last = dict.fromkeys(log.last, 4)
    stored = log.append(hostile)
    if f".{KEY}." in stored.subject:
        log.last[KEY] = stored.sequence  # void, and still the last message of the key
    log.generated()
    ledger, judged = read(log)
    assert codes(judged) == [code]
    assert ledger.keys[KEY].state.versions[1].generated is not None


def test_a_fact_that_did_not_see_the_one_before_is_a_finding() -> None:
    log = Log()
    log.registered()
    log.last[KEY] -= 1
    log.generated()
    assert codes(read(log)[1]) == ["check-sequence"]


def test_a_fact_that_the_lifecycle_does_not_allow_is_a_finding() -> None:
    log = Log()
    log.registered()
    log.activated()
    assert codes(read(log)[1]) == ["illegal-transition"]


@pytest.mark.parametrize("is_readable", [False, True], ids=["that is none", "that nobody signed"])
def test_a_clocks_request_with_a_command_is_a_finding_and_the_next_fact_is_taken(
    *, is_readable: bool
) -> None:
    """A taken-over scheduler neither ends audit with it nor puts a person's name to its own word."""
    log = Log()
    log.registered()
    log.generated()
    log.activated()
    payload = log.command(Rotate, "alice").payload if is_readable else ""
    command = SignedCommand(payload=payload, sshsig="")
    log.fact(RotationRequested, 2, "time-2", reason="time", deadline=log.now, command=command)
    log.requested(2)
    ledger, judged = read(log)
    assert codes(judged) == ["schema"]
    assert ledger.keys[KEY].state.in_motion() == 2
    assert judged[-2].entry is not None
    assert judged[-2].entry.person is None


def test_a_validly_signed_fact_of_an_unknown_type_makes_the_key_undecidable() -> None:
    log = Log()
    log.registered()
    subject = log.generated().subject
    log.messages.pop()
    alert = Alert.model_validate(
        {
            "env": ENV,
            "author": "generator",
            "subject": "",
            "stream": "",
            "sequence": 0,
            "code": "",
            "message": "",
            "at": START,
        }
    )
    log.store(subject, alert, Service.GENERATOR)  # signed by the right author, and no fact
    ledger, judged = read(log)
    assert codes(judged) == ["unknown-type"]
    assert ledger.keys[KEY].state.undecidable is not None


DELIVERIES = [
    pytest.param(
        lambda log: log.delivered(checked=1), "check-sequence", id="decided before the last fact of the key"
    ),
    pytest.param(
        lambda log: log.delivered(version=2), "illegal-transition", id="of a version that does not exist"
    ),
    pytest.param(
        lambda log: log.delivered(dependent="mallory"),
        "illegal-transition",
        id="to a dependent without a grant",
    ),
    pytest.param(
        lambda log: (log.suspended(), log.delivered()),
        "illegal-transition",
        id="of a version that is stopped",
    ),
]


@pytest.mark.parametrize(("act", "code"), DELIVERIES)
def test_a_wrong_delivery_is_a_finding(act: Callable[[Log], object], code: str) -> None:
    log = Log()
    log.registered()
    log.generated()
    act(log)
    ledger, judged = read(log)
    assert codes(judged) == [code]
    assert ledger.keys[KEY].deliveries == []
    assert ledger.keys[KEY].entries[-1].void is not None


def said_of(subject: str, author: Service, code: str) -> Refusal:
    said = {"env": ENV, "author": author, "subject": subject, "message": "no", "at": START, "hint": None}
    return Refusal.model_validate({**said, "cause": "c", "code": code})


def test_the_newest_word_about_a_command_counts() -> None:
    ledger, subject = Ledger(ENV), f"cmd.suspend.{ENV}.{KEY}.n"
    ledger.reported(said_of(subject, Service.REVOCATION, "expired"))
    said = said_of(subject, Service.REVOCATION, "signature").model_dump(exclude={"type", "cause", "hint"})
    ledger.reported(Alert.model_validate({**said, "stream": "COMMANDS", "sequence": 1}))
    assert ledger.refusals[subject].code == "signature"


@pytest.mark.parametrize("verb", VERBS)
def test_only_who_decides_on_a_command_can_refuse_it(verb: str) -> None:
    """A taken-over service tells nobody that a stop is refused, or done already, that another one still carries out."""
    ledger, subject = Ledger(ENV), f"cmd.{verb}.{ENV}.{KEY}.n"
    decides = Service.REVOCATION if verb in {"suspend", "resume", "revoke"} else Service.ROTATION_SCHEDULER
    for author in Service:
        ledger.reported(said_of(subject, author, author.value))
    assert {name: found.code for name, found in ledger.refusals.items()} == {subject: decides.value}


@pytest.mark.parametrize("subject", [f"cmd.bless.{ENV}.{KEY}.n", f"evt.{ENV}.{KEY}.1.n", "cmd", ""])
def test_nobody_refuses_what_nobody_decides_on(subject: str) -> None:
    ledger = Ledger(ENV)
    for author in Service:
        ledger.reported(said_of(subject, author, "expired"))
    assert not ledger.refusals
