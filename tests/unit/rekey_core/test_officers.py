"""An order for a drill, or an attestation of one, is the word of a quorum of trust officers, at its time, for its place."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from rekey_core.contracts import (
    MAX_ORDER_LIFETIME,
    TRUST_NAMESPACE,
    BackupOrder,
    DrillAttestation,
    DrillOrder,
    OfficersDocument,
    OfficersSigned,
    RestoreOrder,
)
from rekey_core.encoding import b64u_encode
from rekey_core.errors import AuthorityError, ExpiredError, ForeignEnvironmentError, RekeyError, SchemaError
from rekey_core.names import Role
from rekey_core.officers import check_order, open_by_quorum
from tests.unit.facts import BASE
from tests.unit.orders import signed as signed_by
from tests.unit.world import ENV, NOW

HOUR = timedelta(hours=1)
OFFICERS = ("oliver", "olga", "odile")
PAIRS = list(combinations(OFFICERS, 2))


def order(**changes: Any) -> DrillOrder:
    body = {"env": ENV, "nonce": "0" * 32, "reason": "quarterly", "issued_at": NOW, "expires_at": NOW + HOUR}
    return DrillOrder.model_validate(body | changes)


def signed(document: OfficersDocument, *officers: str, namespace: str | None = None) -> OfficersSigned:
    return signed_by(BASE, document, *officers, namespace=namespace)


def restore_order(**changes: Any) -> RestoreOrder:
    return RestoreOrder.model_validate(order(**changes).model_dump(exclude={"type"}) | {"epoch": 3})


@pytest.mark.parametrize("two", PAIRS, ids=" and ".join)
@pytest.mark.parametrize(
    "document", [pytest.param(order(), id="a drill"), pytest.param(restore_order(), id="a restore")]
)
def test_any_two_of_three_officers_are_enough_whoever_of_them_is_lost(
    two: tuple[str, ...], document: BackupOrder
) -> None:
    assert open_by_quorum(signed(document, *two), type(document), BASE.trust) == document


def test_all_three_are_no_less() -> None:
    assert open_by_quorum(signed(order(), *OFFICERS), DrillOrder, BASE.trust) == order()


@pytest.mark.parametrize("lost", OFFICERS)
def test_the_other_two_put_somebody_in_the_place_of_an_officer_who_is_lost(lost: str) -> None:
    others = [name for name in OFFICERS if name != lost]
    people = {name: person for name, person in BASE.document().people.items() if name != lost}
    people["adam"] = people["adam"].model_copy(update={"roles": (Role.TRUST_OFFICER,)})
    trust = BASE.trust.extended(BASE.next_trust(*others, people=people))
    with pytest.raises(AuthorityError, match=f"{lost} is not a trust officer"):
        open_by_quorum(signed(order(), lost, others[0]), DrillOrder, trust)
    assert open_by_quorum(signed(order(), "adam", others[0]), DrillOrder, trust) == order()


@pytest.mark.parametrize(
    ("found", "error"),
    [
        pytest.param(signed(order()), AuthorityError, id="nobody"),
        pytest.param(signed(order(), "oliver"), AuthorityError, id="one officer"),
        pytest.param(signed(order(), "oliver", "oliver"), AuthorityError, id="one officer twice"),
        pytest.param(
            signed(order(), "odile", "odile", "odile"), AuthorityError, id="one officer three times"
        ),
        pytest.param(signed(order(), "oliver", "alice"), AuthorityError, id="an officer and an owner"),
        pytest.param(
            signed(order(), "oliver", "olga", namespace=TRUST_NAMESPACE),
            AuthorityError,
            id="for another purpose",
        ),
        pytest.param(
            signed(order(env="prod"), "oliver", "olga"), ForeignEnvironmentError, id="another environment"
        ),
        pytest.param(
            signed(order(), "oliver", "olga").model_copy(update={"payload": b64u_encode(b"{}")}),
            AuthorityError,
            id="another text than was signed",
        ),
    ],
)
def test_what_no_quorum_said_is_refused(found: OfficersSigned, error: type[RekeyError]) -> None:
    with pytest.raises(error):
        open_by_quorum(found, DrillOrder, BASE.trust)


def test_an_order_is_no_attestation() -> None:
    with pytest.raises(SchemaError):
        open_by_quorum(signed(order(), "oliver", "olga"), DrillAttestation, BASE.trust)


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        pytest.param({}, NOW + HOUR, id="over"),
        pytest.param({}, NOW - timedelta(seconds=1), id="of the future"),
        pytest.param(
            {"expires_at": NOW + MAX_ORDER_LIFETIME + timedelta(seconds=1)}, NOW, id="to live too long"
        ),
    ],
)
def test_an_order_that_is_not_of_now(changes: dict[str, Any], now: datetime) -> None:
    check_order(order(), NOW)
    with pytest.raises(ExpiredError):
        check_order(order(**changes), now)
