"""A request of an instance: endorsed by its dependent, signed by itself, for this environment, on its own subject."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rekey_core.contracts import MAX_REQUEST_AGE_S
from rekey_core.errors import ExpiredError
from rekey_core.readers import check_age, open_request
from tests.fakes.hostile_requests import SPOILT, Row, good
from tests.fakes.scene import Scene
from tests.unit.world import NOW


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(home=tmp_path, transport="0" * 64)


def test_a_good_request_is_opened(scene: Scene) -> None:
    asker = scene.asker()
    request = open_request(*good(scene, asker), scene.trust)
    assert (request.dependent, request.instance, request.OP) == ("orders", asker.instance, "material")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in SPOILT])
def test_what_is_no_request_of_its_instance_is_refused(scene: Scene, row: Row) -> None:
    with pytest.raises(row.error):
        open_request(*row.spoil(scene, scene.asker()), scene.trust)


@pytest.mark.parametrize(
    ("seconds", "is_refused"),
    [
        pytest.param(-MAX_REQUEST_AGE_S - 1, True, id="too old"),
        pytest.param(-MAX_REQUEST_AGE_S, False, id="just not too old"),
        pytest.param(MAX_REQUEST_AGE_S, False, id="of a clock that is ahead"),
        pytest.param(MAX_REQUEST_AGE_S + 1, True, id="of the future"),
    ],
)
def test_a_request_is_of_this_moment(scene: Scene, seconds: int, is_refused: bool) -> None:  # noqa: FBT001 - a row
    request = scene.asker().material(1, sent_at=NOW + timedelta(seconds=seconds))
    if not is_refused:
        check_age(request, NOW)
        return
    with pytest.raises(ExpiredError, match="expected at most 60 s either way"):
        check_age(request, NOW)
