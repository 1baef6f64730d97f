"""A KEK epoch counts as ended by the word of a quorum, and only where the log has nothing under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from rekey_core.contracts import Attested, EpochEnd, Message, OfficersSigned
from rekey_core.drilled import CLOCK_SKEW, record_subject
from rekey_core.ended import KEK_END, check_empty, ended, open_end
from rekey_core.envelope import BusMessage, pack
from rekey_core.errors import (
    AuthorityError,
    ExpiredError,
    ForeignEnvironmentError,
    MalformedError,
    RekeyError,
    SchemaError,
    StateRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.names import Service
from tests.unit.facts import BASE, world
from tests.unit.orders import attestation, signed
from tests.unit.rekey_ceremony.test_retire import asked_for, gone, undecidable
from tests.unit.world import ENV, NOW

LATER: Final = NOW + timedelta(days=1)
SECOND: Final = timedelta(seconds=1)


def an_end(**changes: Any) -> EpochEnd:
    body = {"env": ENV, "epoch": 1, "challenge": "0" * 32, "as_of": 1000, "reason": "roll-over", "at": NOW}
    return EpochEnd.model_validate(body | changes)


def said(*officers: str, **changes: Any) -> OfficersSigned:
    return signed(BASE, an_end(**changes), *(officers or ("olga", "odile")))


def test_two_officers_are_believed_for_ever() -> None:
    for at in (NOW - CLOCK_SKEW, LATER, NOW + timedelta(days=4000)):
        assert ended(said(), at, BASE.trust) == an_end()


@pytest.mark.parametrize(
    ("make", "at", "error"),
    [
        pytest.param(lambda: said("olga"), LATER, AuthorityError, id="one officer"),
        pytest.param(lambda: said("olga", "olga"), LATER, AuthorityError, id="one officer twice"),
        pytest.param(lambda: said("olga", "adam"), LATER, AuthorityError, id="an officer and an auditor"),
        pytest.param(lambda: said(env="prod"), LATER, ForeignEnvironmentError, id="another environment"),
        pytest.param(said, NOW - CLOCK_SKEW - SECOND, ExpiredError, id="of the future"),
        pytest.param(
            lambda: signed(BASE, attestation(), "olga", "odile"), LATER, AuthorityError, id="a drill"
        ),
        pytest.param(
            lambda: signed(BASE, attestation(), "olga", "odile", namespace=EpochEnd.NAMESPACE),
            LATER,
            SchemaError,
            id="a drill, signed as an end",
        ),
    ],
)
def test_what_no_end_of_an_epoch_is(
    make: Callable[[], OfficersSigned], at: datetime, error: type[RekeyError]
) -> None:
    with pytest.raises(error):
        ended(make(), at, BASE.trust)


LYING = [
    pytest.param([world(versions=1).state()], 1, "orders-db@1", id="a version lies there"),
    pytest.param([gone().state()], 2, "orders-db@2", id="another epoch than the empty one"),
    pytest.param(
        [asked_for().state()], 1, "orders-db@3", id="a version that was asked for may have a record"
    ),
    pytest.param([undecidable()], 1, "orders-db, which cannot be decided", id="an undecidable key"),
    pytest.param([], 1, "no key at all", id="an empty log proves nothing"),
    pytest.param([world(versions=12).state()], 1, "orders-db@10 and 2 more", id="many are named in part"),
]


@pytest.mark.parametrize(("keys", "epoch", "words"), LYING)
def test_an_epoch_that_something_lies_under_has_not_ended(
    keys: Sequence[KeyState], epoch: int, words: str
) -> None:
    with pytest.raises(StateRefusedError, match=f"KEK epoch {epoch}: .*{words}") as caught:
        check_empty(an_end(epoch=epoch), keys)
    assert caught.value.hint == f"rekey kek status --epoch {epoch}"


def test_an_epoch_has_ended_though_rotations_go_on() -> None:
    check_empty(an_end(), [gone().state()])
    later = asked_for().state()
    requested = later.versions[3].requested.sequence
    check_empty(an_end(as_of=requested - 1), [later])
    with pytest.raises(StateRefusedError, match="orders-db@3"):
        check_empty(an_end(as_of=requested), [later])


def record(signed_by: OfficersSigned | None = None, **changes: Any) -> Attested:
    body = {"env": ENV, "author": Service.AUDIT, "signed": signed_by or said(), "at": LATER}
    return Attested.model_validate(body | changes)


def recorded(model: Message, by: Service = Service.AUDIT, at: str | None = None) -> BusMessage:
    packed = pack(model, BASE.services[by], source="a world")
    return BusMessage(
        "REPORTS", at or record_subject(ENV, KEK_END, said()), packed.headers, packed.data, 7, LATER
    )


def test_whoever_has_the_record_and_the_trust_documents_needs_nobody_else() -> None:
    found = open_end(recorded(record()), BASE.trust)
    assert (found.found, found.officers, found.sequence) == (an_end(), ("odile", "olga"), 7)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(lambda: recorded(record(), by=Service.GENERATOR), id="signed by another service"),
        pytest.param(lambda: recorded(record(author=Service.GENERATOR)), id="said by another service"),
        pytest.param(lambda: recorded(record(env="prod")), id="another environment"),
        pytest.param(lambda: recorded(record(said("olga"))), id="by one officer: audit says what none said"),
        pytest.param(
            lambda: recorded(record(), at=record_subject(ENV, "attestation", said())),
            id="in the place of a drill",
        ),
        pytest.param(lambda: replace(recorded(record()), data=b"{}"), id="another text than was signed"),
    ],
)
def test_a_record_that_is_none(message: Callable[[], BusMessage]) -> None:
    with pytest.raises(MalformedError):
        open_end(message(), BASE.trust)
