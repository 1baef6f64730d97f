"""What the rows say of a key, and which keys they let wait after a start."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rekey_rotation_scheduler.rows import LOOKS, KeyAdoption, Quiet, adoption_row
from rekey_runtime.database import Row
from tests.unit.facts import world
from tests.unit.world import NOW

LONG_AFTER = NOW + timedelta(days=91)


def a_row(**changes: object) -> Row:
    body = KeyAdoption.model_validate(
        {
            "key": "orders-db",
            "as_of": 7,
            "registered": True,
            "current": 1,
            "unfinished": (),
            "rotates_by": LONG_AFTER,
            "versions": (),
            **changes,
        }
    )
    return Row("orders-db", 7, body.model_dump_json())


WAITS = [
    pytest.param(a_row(), {"orders-db": LONG_AFTER}, id="nothing under way waits for its time"),
    pytest.param(a_row(rotates_by=None, current=None), {"orders-db": None}, id="so does one that is stopped"),
    pytest.param(a_row(unfinished=(2,)), {}, id="a rotation under way is looked at"),
    pytest.param(a_row(rotates_by=NOW), {}, id="a cryptoperiod that is over is looked at"),
    pytest.param(a_row(registered=False), {}, id="what nobody registered is no key"),
    pytest.param(Row("orders-db", 7, "{}"), {}, id="a row that is none says nothing"),
    pytest.param(Row("orders-db", 7, "nonsense"), {}, id="nor one that is no JSON"),
]


@pytest.mark.parametrize(("row", "expected"), WAITS)
def test_a_key_waits_only_if_its_row_says_that_it_may(row: Row, expected: dict[str, object]) -> None:
    assert Quiet.by([row], NOW).until == expected


def test_a_row_says_where_the_adoption_stands() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    state = w.state()
    row = adoption_row(state)
    body = KeyAdoption.model_validate_json(row.body)
    assert (row.key, row.sequence) == (state.key, state.last_sequence)
    assert (body.current, body.unfinished) == (1, (2,))
    assert {v.version: v.state for v in body.versions} == {n: state.versions[n].state for n in (1, 2)}
    assert [v.installed is not None for v in body.versions] == [True, False]
    assert adoption_row(state) == row


def test_every_quiet_key_is_looked_at_in_the_end_whatever_its_row_says() -> None:
    quiet = Quiet({f"orders-{n:03}": None for n in range(2 * LOOKS + 1)})
    looks = []
    while quiet.until:
        looks.append(quiet.next(NOW))
        for key in looks[-1]:
            quiet.leave(key)
    assert [len(keys) for keys in looks] == [LOOKS, LOOKS, 1]


def test_a_quiet_key_whose_time_has_come_is_looked_at_first() -> None:
    quiet = Quiet({**{f"orders-{n:03}": LONG_AFTER for n in range(LOOKS)}, "orders-due": NOW})
    assert quiet.next(NOW)[0] == "orders-due"
    assert quiet.next(NOW).count("orders-due") == 1
