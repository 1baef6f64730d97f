"""A mapping that grows without being copied, the versions of a key in it, and values made of others."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import is_dataclass
from dataclasses import replace as of_the_library
from functools import cached_property
from typing import Any

import pytest

from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.persistent import PersistentMap, replace
from rekey_core.versions import VersionFacts
from tests.unit.facts import world
from tests.unit.world import World

S = VersionState
MANY = 2_000


def test_it_is_what_a_dictionary_with_the_same_entries_is() -> None:
    dice, grown, expected = random.Random(7), PersistentMap[int, int](), dict[int, int]()
    for number in range(MANY):
        key = dice.randrange(MANY // 2)  # many are put again
        grown, expected[key] = grown.put(key, number), number
    assert (dict(grown), len(grown)) == (expected, len(expected))
    assert list(grown) == list(grown.keys()) == list(expected)
    assert (list(grown.items()), list(grown.values())) == (list(expected.items()), list(expected.values()))
    assert all(grown[key] == value and key in grown for key, value in expected.items())
    assert repr(grown) == f"PersistentMap({expected!r})"


def test_what_was_there_before_stays_as_it_was() -> None:
    grown = [PersistentMap[int, int]()]
    for number in range(100):
        grown.append(grown[-1].put(number % 60, number))
    for size, earlier in enumerate(grown):
        assert earlier == {key: max(n for n in range(size) if n % 60 == key) for key in range(min(size, 60))}
    grown[50].put(0, -1)
    assert grown[50][0] == 0


def test_what_is_not_there_is_not_found() -> None:
    empty = PersistentMap[str, int]()
    assert (len(empty), list(empty), empty.get("a"), "a" in empty) == (0, [], None, False)
    with pytest.raises(KeyError):
        empty.put("b", 1)["a"]


def test_a_put_copies_few_of_many_entries() -> None:
    grown, copied, shared = PersistentMap[int, int](), 0, set[int]()
    kept = [grown]  # nothing is freed, so that no two parts have the same id
    for number in range(MANY):
        grown = grown.put(number, number)
        parts = {id(part): len(part) for part in gc.get_referents(grown) if isinstance(part, dict)}
        copied += sum(size for identity, size in parts.items() if identity not in shared)
        shared |= parts.keys()
        kept.append(grown)
    assert copied < 2 * MANY * MANY**0.5


def suspended(w: World) -> None:
    w.suspended(2)


def compromised(w: World) -> None:
    w.compromised(0)


def requested(w: World) -> None:
    w.requested(3)


@pytest.mark.parametrize(
    ("happens", "active", "moving"),
    [
        pytest.param(lambda _: None, (1, 2), (), id="two versions, the older one not deactivated yet"),
        pytest.param(lambda w: w.deactivated(1), (2,), (), id="the older one deactivated"),
        pytest.param(requested, (1, 2), (3,), id="a third requested"),
        pytest.param(suspended, (1,), (), id="the current one suspended"),
        pytest.param(compromised, (), (), id="the whole key compromised"),
    ],
)
def test_the_versions_that_decisions_ask_for_are_those_in_that_state(
    happens: Callable[[World], object], active: tuple[int, ...], moving: tuple[int, ...]
) -> None:
    w = world(versions=2)
    happens(w)
    state = w.state()
    assert (state.versions.in_state(S.ACTIVE), state.versions.in_state(S.PRE_ACTIVATION)) == (active, moving)
    expected = {n: v.state for n, v in state.versions.items() if v.state in (S.ACTIVE, S.PRE_ACTIVATION)}
    assert state.unsettled() == expected


def test_versions_in_a_state_that_thousands_are_in_are_not_kept() -> None:
    with pytest.raises(ValueError, match="deactivated"):
        world().state().versions.in_state(S.DEACTIVATED)


def test_a_version_is_found_by_its_number_and_its_key_id_for_ever() -> None:
    w = world(versions=2)
    versions = w.state().versions
    assert (list(versions), len(versions), 2 in versions, 3 in versions) == ([1, 2], 2, True, False)
    assert [v.number for v in versions.values()] == [1, 2]
    assert dict(versions.key_ids) == {1001: 1, 1002: 2}
    gone = versions.put(replace(versions[1], state=S.DESTROYED))
    assert (gone.key_ids, gone[1].state, versions[1].state) == (versions.key_ids, S.DESTROYED, S.ACTIVE)


def test_a_value_made_of_another_is_the_one_that_the_library_makes() -> None:
    state = world(versions=2).state()
    before = of_the_library(state)
    made = replace(state, current=None, last_sequence=99)
    assert made == of_the_library(state, current=None, last_sequence=99)
    assert (made.current, made.last_sequence, made.versions is state.versions) == (None, 99, True)
    assert state == before, "the one that it is made of stays as it was"


def test_a_field_that_is_not_there_is_a_misuse() -> None:
    wrong: dict[str, Any] = {"curent": None}
    with pytest.raises(TypeError, match="KeyState has no curent"):
        replace(KeyState(env="dev", key="k"), **wrong)


@pytest.mark.parametrize("kind", [KeyState, VersionFacts])
def test_what_is_made_so_computes_nothing_when_it_is_made_and_keeps_nothing_that_it_computed(
    kind: type,
) -> None:
    assert is_dataclass(kind)
    assert not hasattr(kind, "__post_init__")
    assert not hasattr(kind, "__slots__")
    assert not [name for name, value in vars(kind).items() if isinstance(value, cached_property)]
