"""A drill counts by the word of a quorum, for 90 days from when it was, and only if it saw every backup that there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from rekey_core.authority import Subjects
from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    AttestationOffer,
    Attested,
    DrillOrder,
    Message,
    OfficersDocument,
    OfficersSigned,
)
from rekey_core.drilled import (
    CLOCK_SKEW,
    attested,
    check_count,
    drill_subject,
    is_backed_up,
    open_attestation_offer,
    open_drill,
)
from rekey_core.envelope import BusMessage, pack
from rekey_core.errors import (
    AuthorityError,
    ExpiredError,
    ForeignEnvironmentError,
    MalformedError,
    PolicyError,
    RekeyError,
    ReplayedError,
    SchemaError,
    StateRefusedError,
)
from rekey_core.names import Role, Service
from tests.unit.facts import BASE, world
from tests.unit.orders import attestation, signed
from tests.unit.world import ENV, NOW, World

LATER: Final = NOW + timedelta(minutes=5)
SECOND: Final = timedelta(seconds=1)


def said(*officers: str, **changes: Any) -> OfficersSigned:
    return signed(BASE, attestation(**changes), *(officers or ("olga", "odile")))


def test_two_officers_are_believed_until_ninety_days_after_the_drill() -> None:
    assert timedelta(days=90) == ATTESTATION_LIFETIME
    assert attested(said(), LATER, BASE.trust) == attestation()
    assert attested(said(), NOW + ATTESTATION_LIFETIME - SECOND, BASE.trust).is_passed


def test_a_drill_that_failed_is_attested_as_well() -> None:
    found = attested(said(restored=2, failures=("orders-db@1: altered",)), LATER, BASE.trust)
    assert (found.is_passed, found.failures) == (False, ("orders-db@1: altered",))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"restored": 2}, id="one did not come back"),
        pytest.param(
            {"failures": ("orders-db@9: it is destroyed, and its backup still stands",)}, id="one came back"
        ),
        pytest.param({"more_failures": 1}, id="more are wrong than are named"),
        pytest.param({"checked": 0, "restored": 0}, id="nothing was there to come back"),
    ],
)
def test_what_is_not_all_right_is_not_passed(changes: dict[str, Any]) -> None:
    assert attestation().is_passed
    assert not attestation(**changes).is_passed


@pytest.mark.parametrize(
    ("make", "at", "error"),
    [
        pytest.param(lambda: said("olga"), LATER, AuthorityError, id="one officer"),
        pytest.param(lambda: said("olga", "olga"), LATER, AuthorityError, id="one officer twice"),
        pytest.param(lambda: said("olga", "adam"), LATER, AuthorityError, id="an officer and an auditor"),
        pytest.param(lambda: said(env="prod"), LATER, ForeignEnvironmentError, id="another environment"),
        pytest.param(said, NOW + ATTESTATION_LIFETIME, ExpiredError, id="after 90 days"),
        pytest.param(said, NOW - CLOCK_SKEW - SECOND, ExpiredError, id="of the future"),
        pytest.param(
            lambda: said(expires_at=NOW + ATTESTATION_LIFETIME + SECOND),
            LATER,
            PolicyError,
            id="for longer than 90 days",
        ),
        pytest.param(lambda: said(expires_at=NOW + timedelta(days=1)), LATER, PolicyError, id="for less"),
        pytest.param(
            lambda: signed(BASE, _an_order(), "olga", "odile"), LATER, SchemaError, id="an order for a drill"
        ),
    ],
)
def test_what_no_attestation_of_now_is(
    make: Callable[[], OfficersSigned], at: datetime, error: type[RekeyError]
) -> None:
    with pytest.raises(error):
        attested(make(), at, BASE.trust)


def _an_order() -> OfficersDocument:
    return DrillOrder(env=ENV, nonce="0" * 32, reason="x", issued_at=NOW, expires_at=LATER)


def test_the_officers_of_that_moment_count_and_not_those_of_today() -> None:
    people = {**BASE.document().people, "adam": BASE.document().people["olga"]}
    del people["olga"]
    trust = BASE.trust.extended(BASE.next_trust("oliver", "odile", people=people), since=LATER)
    assert people["adam"].roles == (Role.TRUST_OFFICER,)
    assert attested(said("olga", "odile"), LATER - SECOND, trust) == attestation()
    with pytest.raises(AuthorityError):
        attested(said("olga", "odile"), LATER, trust)


def offer(**changes: Any) -> bytes:
    body = {"env": ENV, "signed": said()} | changes
    return AttestationOffer.model_validate(body).model_dump_json().encode()


PLACE: Final = f"att.{ENV}.{drill_subject(ENV, said()).rpartition('.')[2]}"


@pytest.mark.parametrize(
    ("subject", "data", "error"),
    [
        pytest.param(PLACE, b"{}", SchemaError, id="nothing"),
        pytest.param(PLACE, b"not JSON", SchemaError, id="no JSON"),
        pytest.param(f"att.{ENV}.{'0' * 16}", offer(), ReplayedError, id="another attestation's place"),
        pytest.param(PLACE, offer(env="prod"), ForeignEnvironmentError, id="another environment"),
    ],
)
def test_an_offer_that_is_none(subject: str, data: bytes, error: type[RekeyError]) -> None:
    assert open_attestation_offer(PLACE, offer(), ENV).signed == said()
    with pytest.raises(error):
        open_attestation_offer(subject, data, ENV)


def recorded(model: Message, by: Service = Service.AUDIT, at: str = drill_subject(ENV, said())) -> BusMessage:
    packed = pack(model, BASE.services[by], source="a world")
    return BusMessage("REPORTS", at, packed.headers, packed.data, 7, LATER)


def record(**changes: Any) -> Attested:
    return Attested.model_validate(
        {"env": ENV, "author": Service.AUDIT, "signed": said(), "at": LATER} | changes
    )


def test_a_record_says_how_the_drill_ended_and_who_signed_that() -> None:
    found = open_drill(recorded(record()), BASE.trust)
    assert (found.found, found.officers, found.sequence) == (attestation(), ("odile", "olga"), 7)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(lambda: recorded(record(), by=Service.GENERATOR), id="signed by another service"),
        pytest.param(lambda: recorded(record(author=Service.GENERATOR)), id="said by another service"),
        pytest.param(lambda: recorded(record(env="prod")), id="another environment"),
        pytest.param(
            lambda: recorded(record(signed=said("olga"))), id="by one officer: audit says what none said"
        ),
        pytest.param(
            lambda: recorded(record(), at=f"rpt.{ENV}.audit.attestation.{'0' * 16}"),
            id="another drill's place",
        ),
        pytest.param(lambda: replace(recorded(record()), data=b"{}"), id="another text than was signed"),
    ],
)
def test_a_record_that_is_none_is_malformed(message: Callable[[], BusMessage]) -> None:
    with pytest.raises(MalformedError):
        open_drill(message(), BASE.trust)


def test_the_subject_of_a_record_is_one_of_audits_reports() -> None:
    digest = PLACE.rpartition(".")[2]
    assert drill_subject(ENV, said()) == Subjects(ENV).report("audit", "attestation", digest)


def backed_up_and_destroyed() -> World:
    """Versions 1 and 2 are backed up, then 1 is destroyed."""
    w = world(versions=2)
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=365))
    assert w.state().voids == ()
    return w


def test_the_log_says_how_many_versions_a_drill_had_to_see_at_any_moment() -> None:
    state = backed_up_and_destroyed().state()
    first, second = (state.versions[number].backed_up for number in (1, 2))
    assert first is not None
    assert second is not None
    for as_of, count in (
        (first.sequence, 1),
        (second.sequence, 2),
        (state.last_sequence, 1),
    ):
        assert sum(is_backed_up(version, as_of) for version in state.versions.values()) == count
        check_count(attestation(as_of=as_of, checked=count, restored=count), [state])
        for other in {count - 1, count + 1} - {0}:
            with pytest.raises(StateRefusedError, match=f"checked {other} versions, .* backups of {count}"):
                check_count(attestation(as_of=as_of, checked=other, restored=other), [state])
    assert [is_backed_up(version) for version in state.versions.values()] == [False, True]


def test_a_bundle_from_which_a_key_was_left_out_is_found() -> None:
    state = world(versions=2).state()
    with pytest.raises(StateRefusedError, match="checked 1 versions"):
        check_count(attestation(checked=1, restored=1, as_of=state.last_sequence), [state])


def test_a_drill_of_nothing_proves_nothing_even_where_the_log_had_nothing() -> None:
    state = world(versions=1).state()
    for as_of in (0, state.last_sequence):
        with pytest.raises(StateRefusedError, match="checked no version"):
            check_count(attestation(checked=0, restored=0, as_of=as_of), [state])
