"""The public keys over HTTP: what is stopped is not among them, whoever has said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

import pytest

from rekey_core.commands import read_command
from rekey_core.contracts import Suspend
from rekey_core.fold import KeyState
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.jwks import Jwks
from tests.unit.facts import world
from tests.unit.world import ENV, NOW, World


def nothing(_w: World, _lane: Emergencies) -> None:
    """Nobody stops anything."""


def by_fact(w: World, _lane: Emergencies) -> None:
    """The log says so."""
    w.suspended(1)


def by_command(w: World, lane: Emergencies, version: int = 1) -> None:
    """A responder says so, and no fact does."""
    signed = w.suspend(version)
    command = read_command(signed)
    assert isinstance(command, Suspend)
    lane.add(command, signed, NOW)


def by_command_on_the_key(w: World, lane: Emergencies) -> None:
    """Every version."""
    by_command(w, lane, 0)


@pytest.mark.parametrize(
    ("stop", "served"),
    [
        pytest.param(nothing, [2, 1], id="every version to hold, newest first"),
        pytest.param(by_fact, [2], id="a version that a fact stops"),
        pytest.param(by_command, [2], id="a version that a responder's command stops before any fact"),
        pytest.param(by_command_on_the_key, [], id="a command on the whole key"),
    ],
)
async def test_what_is_served(stop: Callable[[World, Emergencies], None], served: list[int]) -> None:
    w, lane = world(versions=2, release="never"), Emergencies()
    everything = await get(w, Emergencies())
    stop(w, lane)
    assert await get(w, lane) == [everything[2 - version] for version in served]


async def get(w: World, lane: Emergencies) -> list[str]:
    """The ids in the answer to one request."""

    async def state_of(_key: str) -> KeyState:
        return w.state()

    path = f"/{ENV}/{w.state().key}/jwks.json"
    response = await Jwks(ENV, state_of, lane).answer(path)
    assert response is not None
    assert response.status == HTTPStatus.OK
    return [jwk["kid"] for jwk in json.loads(response.body)["keys"]]
