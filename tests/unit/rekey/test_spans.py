"""What the SDK adds to a trace: a child of what led to it, recorded only where something was sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rekey import spans
from rekey.spans import following, led_by, new_trace, trace_headers, written_to
from rekey_core.envelope import BusMessage
from rekey_core.tracecontext import Attribute, TraceContext, parse_traceparent

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PARENT = TraceContext("a" * 32, "b" * 16)


def message(header: str | None, age_s: float = 0) -> BusMessage:
    """A notice with this header, stored so long before now."""
    headers = {"traceparent": header} if header else {}
    return BusMessage("NOTICES", "ntc.dev.orders.k", headers, b"", 1, NOW - timedelta(seconds=age_s))


def lines(path: Path) -> list[dict[str, object]]:
    """The spans in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("found", "parent"),
    [
        pytest.param(None, None, id="no notice"),
        pytest.param(message(None), None, id="a notice without a trace"),
        pytest.param(message("nonsense"), None, id="a notice with something else in the header"),
        pytest.param(message(str(PARENT)), PARENT, id="a notice of now"),
        pytest.param(
            message(str(PARENT), spans.LED_BY_S + 1), None, id="a notice of long ago led to nothing"
        ),
    ],
)
def test_what_led_to_it(found: BusMessage | None, parent: TraceContext | None) -> None:
    assert led_by(found, NOW) == parent


def test_a_message_inside_a_span_carries_a_child_of_what_led_to_it_and_outside_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "spans.jsonl"
    with written_to(file, "orders"):
        with following(PARENT, "follow", {Attribute.KEY: "orders-db"}):
            carried = parse_traceparent(trace_headers())
        with following(PARENT, "follow", {}):
            pass  # nothing was sent
        with following(None, "follow", {}):
            assert trace_headers() == {}
        assert trace_headers() == {}
    assert carried is not None
    (span,) = lines(file)
    assert (span["trace_id"], span["parent_id"]) == (PARENT.trace_id, PARENT.span_id)
    assert (carried.trace_id, carried.span_id) == (PARENT.trace_id, span["span_id"])
    assert (span["service"], span["attributes"]) == ("orders", {"rekey.key": "orders-db"})


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_recorded(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    with written_to(file, "orders"), following(TraceContext("a" * 32, "b" * 16, sampled=False), "follow", {}):
        assert trace_headers()["traceparent"].endswith("-00")
    assert lines(file) == []


def test_a_key_outside_of_the_list_is_no_attribute() -> None:
    with pytest.raises(ValueError, match=r"rekey\.pin"), new_trace("x", {"rekey.pin": "1"}):  # type: ignore[dict-item]
        trace_headers()


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "FILE_BYTES", 2000)
    file = tmp_path / "spans.jsonl"
    with written_to(file, "orders"):
        for _ in range(100):
            with new_trace("x", {}):
                trace_headers()
    assert [path.stat().st_size <= 2000 for path in sorted(tmp_path.iterdir())] == [True, True]
