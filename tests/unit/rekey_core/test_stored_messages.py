"""Where a stored message stands, as the server says it: complete, or nothing is believed of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rekey_core.envelope import BusMessage, direct_message
from rekey_core.errors import StaleReadError

PLACE = {
    "Nats-Stream": "LIFECYCLE",
    "Nats-Subject": "evt.dev.k.1.generator.generated.0",
    "Nats-Sequence": "7",
    "Nats-Time-Stamp": "2026-11-24T03:58:34.123456789Z",
}


def test_a_message_has_its_place_and_its_authors_headers_alone() -> None:
    found = direct_message({**PLACE, "ce-type": "t", "Nats-Num-Pending": "1"}, b"body")
    at = datetime(2026, 11, 24, 3, 58, 34, 123456, tzinfo=UTC)
    assert found == BusMessage("LIFECYCLE", PLACE["Nats-Subject"], {"ce-type": "t"}, b"body", 7, at)


@pytest.mark.parametrize("name", PLACE)
def test_a_message_without_its_place_is_no_answer(name: str) -> None:
    with pytest.raises(StaleReadError, match="without its place"):
        direct_message({n: value for n, value in PLACE.items() if n != name}, b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Nats-Sequence", "seven", id="a sequence that is no number"),
        pytest.param("Nats-Time-Stamp", "yesterday", id="a time that is none"),
        pytest.param("Nats-Time-Stamp", "2026-11-24T03:58:34.x1Z", id="a fraction that is no number"),
    ],
)
def test_a_place_that_is_none_is_no_answer(name: str, value: str) -> None:
    with pytest.raises(StaleReadError, match="without its place"):
        direct_message({**PLACE, name: value}, b"")
