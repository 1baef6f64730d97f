"""Where a stored message stands, as the server says it: complete, or nothing is believed of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage, answer_status, direct_message
from rekey_core.errors import StaleReadError

PLACE = {
    "Nats-Stream": "LIFECYCLE",
    "Nats-Subject": "evt.dev.k.1.generator.generated.0",
    "Nats-Sequence": "7",
    "Nats-Time-Stamp": "2026-11-24T03:58:34.123456789Z",
}


def test_a_message_has_its_place_and_its_authors_headers_alone() -> None:
    found = direct_message({**PLACE, "ce-type": "t", "Nats-Num-Pending": "1"}, b"body", Stream.LIFECYCLE)
    at = datetime(2026, 11, 24, 3, 58, 34, 123456, tzinfo=UTC)
    assert found == BusMessage("LIFECYCLE", PLACE["Nats-Subject"], {"ce-type": "t"}, b"body", 7, at)


@pytest.mark.parametrize("name", ["X", "Nats-Stream"])
def test_a_message_whose_headers_swallow_the_stream_is_one_of_the_stream_that_was_asked(name: str) -> None:
    """An author's headers that do not end as headers do; what nats-server 2.15.1 and the client make of them."""
    said = {name: "aNats-Stream: LIFECYCLE", **{name: PLACE[name] for name in PLACE if name != "Nats-Stream"}}
    found = direct_message(said, b"body", Stream.LIFECYCLE)
    assert (found.stream, found.subject, found.sequence) == ("LIFECYCLE", PLACE["Nats-Subject"], 7)


@pytest.mark.parametrize("status", ["204", "404", "408", "413", "503"])
def test_a_status_is_the_servers_word_and_no_authors(status: str) -> None:
    assert answer_status({"Status": status, "Nats-Num-Pending": "0"}) == status
    assert answer_status({**PLACE, "Status": status, "Nats-Num-Pending": "0"}) is None
    assert answer_status(PLACE) is None


@pytest.mark.parametrize("name", [name for name in PLACE if name != "Nats-Stream"])
def test_a_message_without_its_place_is_no_answer(name: str) -> None:
    with pytest.raises(StaleReadError, match="without its place"):
        direct_message({n: value for n, value in PLACE.items() if n != name}, b"", Stream.LIFECYCLE)


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
        direct_message({**PLACE, name: value}, b"", Stream.LIFECYCLE)
