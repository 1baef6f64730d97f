"""The authority table against the duties as the design says them: written here a second time, on purpose.

Everything else that tests the bus renders its attempts from the table, and would follow it into a mistake.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import pytest

from rekey_core.authority import (
    APPENDS,
    CONSUMERS,
    HEARS,
    INSPECTORS,
    READS,
    SERVES,
    STREAMS,
    Appends,
    Form,
    Identity,
    Stream,
    Subjects,
)
from rekey_core.contracts import FACTS

I, L = Identity, Stream  # noqa: E741 - rows below are read as a table

WRITERS: Final[dict[Stream, set[Identity]]] = {
    L.LIFECYCLE: {I.GENERATOR, I.DISTRIBUTOR, I.ROTATION_SCHEDULER, I.REVOCATION},
    L.COMMANDS: {I.PERSON},
    L.MATERIAL: {I.GENERATOR},
    L.LEASES: {I.DISTRIBUTOR},
    L.QUOTAS: {I.DISTRIBUTOR},
    L.NOTICES: {I.DISTRIBUTOR, I.REVOCATION},
    L.RECEIPTS: {I.APPLICATION},
    L.REPORTS: {I.GENERATOR, I.DISTRIBUTOR, I.ROTATION_SCHEDULER, I.REVOCATION, I.AUDIT},
    L.TRUST: {I.ENROLMENT},
    L.ADVISORIES: set(),  # the server's own
}
AUTHORS: Final = {
    "registered": I.ROTATION_SCHEDULER,
    "granted": I.ROTATION_SCHEDULER,
    "rotation-requested": I.ROTATION_SCHEDULER,
    "waived": I.ROTATION_SCHEDULER,
    "activated": I.ROTATION_SCHEDULER,
    "deactivated": I.ROTATION_SCHEDULER,
    "backed-up": I.GENERATOR,
    "generated": I.GENERATOR,
    "suspended": I.REVOCATION,
    "compromised": I.REVOCATION,
    "resumed": I.REVOCATION,
    "destruction-scheduled": I.ROTATION_SCHEDULER,
    "destruction-cancelled": I.ROTATION_SCHEDULER,
    "destroyed": I.GENERATOR,
    "restored": I.GENERATOR,
}
READERS_OF_WHOLE_STREAMS: Final[dict[Stream, set[Identity]]] = {
    L.LIFECYCLE: {I.BACKUP, I.GENERATOR, I.DISTRIBUTOR, I.ROTATION_SCHEDULER, I.REVOCATION, I.AUDIT},
    L.COMMANDS: {I.DISTRIBUTOR, I.REVOCATION, I.AUDIT},
    L.MATERIAL: {I.GENERATOR},
    L.LEASES: {I.DISTRIBUTOR, I.ROTATION_SCHEDULER, I.REVOCATION, I.AUDIT},
    L.QUOTAS: {I.DISTRIBUTOR, I.ROTATION_SCHEDULER},
    L.NOTICES: {I.DISTRIBUTOR, I.REVOCATION, I.AUDIT},
    L.RECEIPTS: {I.ROTATION_SCHEDULER, I.REVOCATION, I.AUDIT},
    L.REPORTS: {I.AUDIT},
    L.TRUST: set(),
    L.ADVISORIES: set(),
}


@pytest.mark.parametrize("stream", Stream)
def test_only_these_write_to(stream: Stream) -> None:
    assert {row.author for row in APPENDS if row.stream is stream} == WRITERS[stream]


@pytest.mark.parametrize("stream", Stream)
def test_only_these_read_the_whole_of(stream: Stream) -> None:
    whole = {row.reader for row in READS if row.stream is stream and row.form is not Form.SUBJECT}
    assert whole == READERS_OF_WHOLE_STREAMS[stream]


def test_only_audit_sees_the_figures_of_everything() -> None:
    assert INSPECTORS == (I.AUDIT,)


def test_every_fact_has_the_author_of_the_design() -> None:
    assert {fact.EVENT: Identity(fact.AUTHOR.value) for fact in FACTS} == AUTHORS


@pytest.mark.parametrize("event", AUTHORS)
def test_only_its_author_may_say(event: str) -> None:
    places = [row for row in APPENDS if row.subject.startswith("evt.") and f".{event}." in row.subject]
    assert [(row.author, row.subject) for row in places] == [
        (AUTHORS[event], f"evt.{{env}}.*.*.{AUTHORS[event]}.{event}.*")
    ]


def test_every_place_for_facts_names_its_author() -> None:
    facts = [row for row in APPENDS if row.subject.startswith("evt.")]
    assert [row for row in facts if row.subject.split(".")[4] != row.author] == []


def overlap(one: str, other: str) -> bool:
    """Whether a subject could match both patterns."""
    ours, theirs = one.split("."), other.split(".")
    for a, b in zip(ours, theirs, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b) and "{" not in a + b:
            return False
    return len(ours) == len(theirs)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.c", True),
        ("a.>", "a.b.c", True),
        ("a.*", "a.b.c", False),
        ("a.{env}.x", "a.dev.x", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:  # noqa: FBT001
    assert overlap(one, other) is overlap(other, one) is expected


def test_no_two_identities_may_publish_on_one_subject() -> None:
    pairs = itertools.combinations(APPENDS, 2)
    shared = [
        (a.author, a.subject, b.author, b.subject)
        for a, b in pairs
        if a.author is not b.author and overlap(a.subject, b.subject)
    ]
    assert shared == []


@pytest.mark.parametrize("row", [r for r in APPENDS if r.stream], ids=lambda r: r.subject)
def test_what_is_published_is_stored_where_the_table_says(row: Appends) -> None:
    holding = [s.name for s in STREAMS for subject in s.subjects if overlap(subject, row.subject)]
    assert holding == [row.stream]


@pytest.mark.parametrize("row", [r for r in APPENDS if r.stream is None], ids=lambda r: r.subject)
def test_what_is_asked_is_answered_by_one(row: Appends) -> None:
    servers = [s.server for s in SERVES if overlap(s.subject, row.subject)]
    expected = {
        (I.APPLICATION, "req"): I.DISTRIBUTOR,
        (I.PERSON, "ask"): I.AUDIT,
        (I.BACKUP, "rst"): I.GENERATOR,
        (I.BACKUP, "att"): I.AUDIT,
    }
    assert servers == [expected[row.author, row.subject.partition(".")[0]]]


@pytest.mark.parametrize("identity", [I.APPLICATION, I.PERSON])
def test_what_is_many_reaches_only_what_bears_its_own_name(identity: Identity) -> None:
    read = [row.subject for row in READS if row.reader is identity and row.stream is not Stream.TRUST]
    heard = [row.subject for row in HEARS if row.listener is identity]
    asked = [row.subject for row in APPENDS if row.author is identity and not row.subject.startswith("cmd.")]
    assert [s for s in (*read, *heard, *asked) if s is None or ".{env}.{self}." not in s] == []
    assert [row for row in CONSUMERS if row.identity is identity] == []


def test_both_of_the_emergency_lane_consume_the_stops() -> None:
    stops = {"cmd.suspend.{env}.>", "cmd.revoke.{env}.>"}
    durables = [row for row in CONSUMERS if row.stream is Stream.COMMANDS]
    lane = {row.identity: set(row.filters) for row in durables if stops & set(row.filters)}
    assert lane == {I.DISTRIBUTOR: stops, I.REVOCATION: stops | {"cmd.resume.{env}.>"}}


def test_a_resume_goes_to_the_one_who_checks_it_against_the_log() -> None:
    heard = {row.identity for row in CONSUMERS if "cmd.resume.{env}.>" in row.filters}
    assert heard == {I.REVOCATION}


def test_what_happened_is_never_written_over() -> None:
    once = {stream.name for stream in STREAMS if stream.write_once}
    assert once == {L.LIFECYCLE, L.COMMANDS, L.TRUST}


HEX: Final = "0123456789abcdef0123456789abcdef"
OF: Final = Subjects("dev")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(OF.check("orders-db"), "evt.dev.orders-db.>", id="check subject"),
        pytest.param(
            OF.fact("orders-db", 2, "generator", "generated", HEX),
            "evt.dev.orders-db.2.generator.generated.0123456789abcdef",
            id="fact",
        ),
        pytest.param(
            OF.delivered("orders-db", 2, HEX), "dlv.dev.orders-db.2.0123456789abcdef", id="deliveries"
        ),
        pytest.param(
            OF.command("suspend", "orders-db", HEX),
            "cmd.suspend.dev.orders-db.0123456789abcdef",
            id="command",
        ),
        pytest.param(OF.material("orders-db", 2), "mat.dev.orders-db.2", id="record"),
        pytest.param(OF.notice("orders", "orders-db"), "ntc.dev.orders.orders-db", id="notice"),
        pytest.param(OF.stop("orders", "orders-db"), "stop.dev.orders.orders-db", id="stop"),
        pytest.param(OF.lease("orders", HEX), f"lse.dev.orders.{HEX}", id="lease"),
        pytest.param(OF.receipt("orders", HEX), f"rcpt.dev.orders.{HEX}", id="receipt"),
        pytest.param(OF.request("orders", HEX, "sign"), f"req.dev.orders.{HEX}.sign", id="request"),
        pytest.param(OF.ask("alice", "show"), "ask.dev.alice.show", id="question"),
        pytest.param(OF.report("audit", "alert", "7"), "rpt.dev.audit.alert.7", id="report"),
        pytest.param(OF.trust(3), "trust.dev.3", id="trust document"),
    ],
)
def test_a_subject_is_spelled_in_one_way(found: str, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Subjects("*"), id="an environment that is a wildcard"),
        pytest.param(lambda: OF.check("a.b"), id="a key that is two tokens"),
        pytest.param(lambda: OF.check(">"), id="a key that is a wildcard"),
        pytest.param(lambda: OF.fact("k", 1, "generator", "", HEX), id="an event without a name"),
        pytest.param(lambda: OF.receipt("orders", "*"), id="an instance that is a wildcard"),
        pytest.param(lambda: OF.notice("orders\r\nPUB x", "k"), id="a dependent that breaks the line"),
    ],
)
def test_no_name_reaches_beyond_its_token(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected one name"):
        make()
