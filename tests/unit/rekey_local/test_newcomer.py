"""Who may be enrolled beside the story's dependents, and that a newcomer outlives ports and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.names import Service
from rekey_local.bus import bus_plan
from rekey_local.errors import NotReadyError, RefusedError
from rekey_local.layout import Layout
from rekey_local.newcomer import planned
from rekey_local.plan import DEPENDENTS, Plan, load_plan, read_plan, write_plan

HTTP_PORTS = {service: 4223 + n for n, service in enumerate(Service)}
PLAN = Plan(bus_port=4222, http_ports=HTTP_PORTS, database_port=5432)


def test_a_newcomer_comes_last_and_moves_nobody() -> None:
    plan = planned(planned(PLAN, "shipping", "alice"), "archive", "otto")
    assert list(plan.every_dependent) == [*DEPENDENTS, "shipping", "archive"]
    assert plan.every_dependent["archive"] == "otto"


def test_a_newcomer_twice_is_no_change() -> None:
    once = planned(PLAN, "shipping", "alice")
    assert planned(once, "shipping", "alice") == once


@pytest.mark.parametrize(
    ("name", "owner", "words"),
    [
        pytest.param("shipping", "otto", "is enrolled, with owner alice", id="another owner"),
        pytest.param("orders", "alice", "is enrolled", id="a dependent of the story"),
        pytest.param("packing", "rita", "expected an owner, one of alice", id="a responder as owner"),
        pytest.param("packing", "oliver", "expected an owner", id="a trust officer as owner"),
        pytest.param("packing", "nobody", "expected an owner", id="a stranger as owner"),
        pytest.param("Packing", "alice", "expected a name", id="capital letters"),
        pytest.param("packing.>", "alice", "expected a name", id="a wildcard"),
        pytest.param("../people", "alice", "expected a name", id="a path"),
        pytest.param("", "alice", "expected a name", id="no name"),
    ],
)
def test_who_may_not_be_enrolled(name: str, owner: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        planned(planned(PLAN, "shipping", "alice"), name, owner)


def test_a_newcomer_stays_when_the_next_start_needs_other_ports(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = load_plan(layout)
    write_plan(layout, planned(first, "shipping", "alice"))
    again = load_plan(layout)
    assert again.newcomers == {"shipping": "alice"}
    assert "shipping" in bus_plan(layout, again).dependents


def test_without_a_founded_environment_there_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="nothing is founded") as caught:
        read_plan(Layout(tmp_path))
    assert caught.value.hint is not None
    assert "deploy/up" in caught.value.hint


def test_an_image_s_environment_has_the_ports_that_it_is_told(tmp_path: Path) -> None:
    plan = load_plan(Layout(tmp_path), first_port=4222)
    assert plan.bus_port == 4222
    assert set(plan.ports) == set(range(4222, 4222 + len(plan.ports)))
    assert load_plan(Layout(tmp_path), first_port=5000).ports == plan.ports
