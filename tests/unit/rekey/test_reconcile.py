from __future__ import annotations

import pytest

from rekey.beliefs import Believed, Stopped, believe
from rekey.reconcile import plan
from tests.unit.rekey.world import KEY, NOW, World

WORLD = World()


def stop(version: int, kind: str = "suspended") -> Stopped:
    return Stopped(KEY, version, kind, "rita", "why", NOW)  # type: ignore[arg-type]


def said(versions: tuple[int, ...], current: int | None) -> Believed:
    return believe(WORLD.notice(versions, current), WORLD.trust)


@pytest.mark.parametrize(
    ("believed", "stops", "held", "current", "stopped", "expected"),
    [
        pytest.param(None, (), [], None, [], ([], (), None), id="nothing said, nothing done"),
        pytest.param(
            said((1,), None), (), [], None, [], ([], (1,), None), id="a version to hold is installed"
        ),
        pytest.param(said((1,), 1), (), [1], None, [], ([], (), 1), id="the first activation is followed"),
        pytest.param(
            said((1, 2), 1),
            (),
            [1],
            1,
            [],
            ([], (2,), None),
            id="a version in motion is installed, no switch",
        ),
        pytest.param(
            said((1, 2), 2), (), [1, 2], 1, [], ([], (), 2), id="an activated version is switched to"
        ),
        pytest.param(
            said((1, 2, 3), 3), (), [], None, [], ([], (3, 2, 1), 3), id="a joiner installs the newest first"
        ),
        pytest.param(said((1, 2), 1), (), [1, 2], 2, [], ([], (), None), id="current never goes back"),
        pytest.param(said((2,), 2), (), [1, 2], 2, [], ([], (), None), id="a version that is left out stays"),
        pytest.param(
            said((1,), None), (), [1], 1, [], ([], (), None), id="no current said, the switch is not undone"
        ),
        pytest.param(None, (stop(1),), [1], 1, [], ([1], (), None), id="a stop needs no notice"),
        pytest.param(
            said((1, 2), 2),
            (stop(2),),
            [1, 2],
            1,
            [],
            ([2], (), None),
            id="no switch to a stopped version",
        ),
        pytest.param(
            said((1, 2), 1),
            (stop(2),),
            [1],
            1,
            [],
            ([2], (), None),
            id="a stopped version is not installed",
        ),
        pytest.param(
            said((1, 2), 1),
            (stop(0),),
            [1],
            1,
            [],
            ([1, 2], (), None),
            id="a stop of all stops what is known",
        ),
        pytest.param(said((1, 2), 2), (), [1], 1, [2], ([], (), None), id="a stop is not lifted by a notice"),
        pytest.param(
            said((1,), 1), (stop(1),), [], 1, [1], ([], (), None), id="a stop that is known is no news"
        ),
        pytest.param(
            said((1,), 1),
            (stop(1, "compromised"),),
            [],
            1,
            [1],
            ([1], (), None),
            id="compromised after suspended is news",
        ),
        pytest.param(
            None,
            (stop(0, "compromised"),),
            [2],
            2,
            [1],
            ([1, 2], (), None),
            id="all compromised, what is suspended already too",
        ),
        pytest.param(
            said((3,), 3), (stop(2),), [2], 2, [], ([2], (3,), 3), id="stop, install and switch in one pass"
        ),
    ],
)
def test_plan(
    believed: Believed | None,
    stops: tuple[Stopped, ...],
    held: list[int],
    current: int | None,
    stopped: list[int],
    expected: tuple[list[int], tuple[int, ...], int | None],
) -> None:
    before = {version: stop(version) for version in stopped}
    todo = plan(believed, stops, held=held, current=current, stopped=before, lifts={})
    assert (sorted(todo.stop), todo.install, todo.switch_to) == expected
