"""The authority table agrees with itself and with the models: every subject has one author and one stream."""

from __future__ import annotations

from itertools import combinations

import pytest

from rekey_core.authority import (
    APPENDS,
    CONSUMERS,
    HEARS,
    READS,
    SERVES,
    STREAMS,
    Appends,
    Form,
    Identity,
    Stream,
    Subjects,
)
from rekey_core.contracts import FACTS, OPS, VERBS
from rekey_core.names import Service

ENV = "dev"


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that ``narrow`` matches is matched by ``wide``."""
    theirs, ours = narrow.split("."), wide.split(".")
    if ours[-1] == ">":
        return len(theirs) >= len(ours) and all(
            o in {"*", t} for o, t in zip(ours[:-1], theirs, strict=False)
        )
    return (
        len(theirs) == len(ours)
        and ">" not in theirs
        and all(o in {"*", t} for o, t in zip(ours, theirs, strict=True))
    )


def overlap(one: str, other: str) -> bool:
    """Whether some subject is matched by both."""
    ours, theirs = one.split("."), other.split(".")
    for a, b in zip(ours, theirs, strict=False):
        if ">" in {a, b}:
            return True
        if a != b and "*" not in {a, b}:
            return False
    return len(ours) == len(theirs)


@pytest.mark.parametrize("right", APPENDS, ids=lambda right: f"{right.author} {right.subject}")
def test_a_right_to_append_lies_in_its_stream_and_in_no_other(right: Appends) -> None:
    subject, stream = right.subject, right.stream
    holding = [s.name for s in STREAMS if any(covers(wide, subject) for wide in s.subjects)]
    assert holding == ([stream] if stream else [])


def test_no_subject_has_two_authors() -> None:
    for one, other in combinations(APPENDS, 2):
        if one.author is not other.author:
            assert not overlap(one.subject, other.subject), (one, other)


def test_no_subject_has_two_streams() -> None:
    for one, other in combinations(STREAMS, 2):
        assert not any(overlap(a, b) for a in one.subjects for b in other.subjects), (one.name, other.name)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.EVENT)
def test_each_fact_may_be_said_by_its_author_alone(fact: object) -> None:
    subject = Subjects(ENV).fact("k", 1, fact.AUTHOR, fact.EVENT, "0" * 32)  # type: ignore[attr-defined]
    authors = {a.author for a in APPENDS if covers(a.subject.format(env=ENV, self="x"), subject)}
    assert authors == {Identity(fact.AUTHOR.value)}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("made", "author"),
    [
        pytest.param(Subjects(ENV).delivered("k", 1, "0" * 32), Identity.DISTRIBUTOR, id="deliveries"),
        pytest.param(Subjects(ENV).material("k", 1), Identity.GENERATOR, id="material"),
        pytest.param(Subjects(ENV).offer("k", 1), Identity.BACKUP, id="offers of what was restored"),
        pytest.param(Subjects(ENV).notice("x", "k"), Identity.DISTRIBUTOR, id="notices"),
        pytest.param(Subjects(ENV).stop("x", "k"), Identity.REVOCATION, id="stops"),
        pytest.param(Subjects(ENV).lease("x", "i"), Identity.DISTRIBUTOR, id="leases"),
        pytest.param(Subjects(ENV).quota("k", 1), Identity.DISTRIBUTOR, id="ledgers"),
        pytest.param(Subjects(ENV).receipt("x", "i"), Identity.APPLICATION, id="receipts"),
        pytest.param(Subjects(ENV).trust(2), Identity.ENROLMENT, id="trust"),
        *(
            pytest.param(Subjects(ENV).command(v, "k", "0" * 64), Identity.PERSON, id=f"command {v}")
            for v in VERBS
        ),
        *(
            pytest.param(Subjects(ENV).request("x", "i", op), Identity.APPLICATION, id=f"request {op}")
            for op in OPS
        ),
        pytest.param(Subjects(ENV).ask("x", "show"), Identity.PERSON, id="questions"),
        *(
            pytest.param(Subjects(ENV).report(s, "alert", "n"), Identity(s.value), id=f"reports of {s}")
            for s in Service
        ),
    ],
)
def test_what_subjects_makes_is_what_its_author_may_publish(made: str, author: Identity) -> None:
    assert {a.author for a in APPENDS if covers(a.subject.format(env=ENV, self="x"), made)} == {author}


def test_every_consumer_filters_what_its_stream_holds_and_names_are_unique() -> None:
    subjects = {s.name: s.subjects for s in STREAMS}
    for consumer in CONSUMERS:
        for wanted in consumer.filters:
            assert any(covers(wide, wanted) for wide in subjects[consumer.stream]), consumer
    assert len({(c.stream, c.name) for c in CONSUMERS}) == len(CONSUMERS)


def test_only_who_has_a_token_for_it_reads_material_and_only_its_maker_all_of_it() -> None:
    readers = {(r.reader, r.form) for r in READS if r.stream is Stream.MATERIAL}
    assert readers == {
        (Identity.GENERATOR, Form.LEADER),
        (Identity.DISTRIBUTOR, Form.SUBJECT),
        (Identity.BACKUP, Form.SUBJECT),
    }


def test_the_distributor_reads_no_backups_and_who_reads_those_no_records() -> None:
    held = {r.reader: r.subject for r in READS if r.stream is Stream.MATERIAL and r.form is Form.SUBJECT}
    assert held == {Identity.DISTRIBUTOR: "mat.{env}.*.*", Identity.BACKUP: "bak.{env}.*.*"}


def test_applications_and_people_read_by_subject_only() -> None:
    for read in READS:
        if read.reader in {Identity.APPLICATION, Identity.PERSON, Identity.ENROLMENT}:
            assert read.form is Form.SUBJECT, read


def test_applications_hear_only_their_own_pokes() -> None:
    for heard in HEARS:
        assert heard.subject.split(".")[3] == "{self}", heard


def test_every_request_is_served_by_one() -> None:
    for right in (a for a in APPENDS if a.stream is None):
        servers = [s.server for s in SERVES if covers(s.subject, right.subject) and s.client is right.author]
        assert len(servers) == 1, right


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "A", "a b", "-a", "a" * 64])
def test_a_name_that_is_not_one_token_makes_no_subject(name: str) -> None:
    with pytest.raises(ValueError, match="expected one name"):
        Subjects(ENV).check(name)
