"""Deliveries and reports stop at 80 % of a stream, new rotations at 85 %; the rest belongs to revocation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rekey_core.authority import Stream
from rekey_core.errors import NoRoomError, RekeyError, UnavailableError
from rekey_core.names import Service
from rekey_core.room import WATCHED, check_delivery, check_rotation, takes_report


@pytest.mark.parametrize(
    ("check", "share"),
    [
        pytest.param(check_delivery, 0.0, id="a delivery into an empty stream"),
        pytest.param(check_delivery, 0.799, id="a delivery below 80 %"),
        pytest.param(check_rotation, 0.80, id="a rotation at 80 %"),
        pytest.param(check_rotation, 0.849, id="a rotation below 85 %"),
    ],
)
def test_there_is_room_for(check: Callable[[float], None], share: float) -> None:
    check(share)


@pytest.mark.parametrize(
    ("check", "share", "error", "words"),
    [
        pytest.param(check_delivery, 0.8, UnavailableError, "80% full", id="a delivery at 80 %"),
        pytest.param(check_delivery, 1.0, UnavailableError, "100% full", id="a delivery at 100 %"),
        pytest.param(check_rotation, 0.85, NoRoomError, "85% full.* below 85%", id="a rotation at 85 %"),
        pytest.param(check_rotation, 1.0, NoRoomError, "100% full", id="a rotation at 100 %"),
    ],
)
def test_there_is_no_room_for(
    check: Callable[[float], None], share: float, error: type[RekeyError], words: str
) -> None:
    with pytest.raises(error, match=words) as found:
        check(share)
    assert found.value.hint


@pytest.mark.parametrize(
    ("service", "share", "is_stored"),
    [
        pytest.param(Service.DISTRIBUTOR, 0.799, True, id="anybody's below 80 %"),
        pytest.param(Service.DISTRIBUTOR, 0.8, False, id="anybody's at 80 %"),
        pytest.param(Service.REVOCATION, 0.9, True, id="revocation's at 90 %"),
        pytest.param(Service.REVOCATION, 0.96, False, id="revocation's at the very end"),
    ],
)
def test_whose_report_is_stored(service: Service, share: float, is_stored: bool) -> None:  # noqa: FBT001 - a row
    assert takes_report(share, service) is is_stored


def test_whose_size_every_service_sees() -> None:
    assert WATCHED == (Stream.LIFECYCLE, Stream.REPORTS)
