"""A log line carries the fields of the list and nothing else."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from opentelemetry.sdk.trace import TracerProvider

from rekey_core.envelope import BusMessage
from rekey_core.tracecontext import TraceContext
from rekey_runtime.about import handling
from rekey_runtime.log import JsonLines
from rekey_runtime.telemetry import Tracing


def line(**extra: object) -> dict[str, object]:
    """One record as the log would write it."""
    record = logging.LogRecord("rekey", logging.INFO, "file", 1, "said %s", ("it",), None)
    record.__dict__.update(extra)
    found: dict[str, object] = json.loads(JsonLines().format(record))
    return found


def test_fields_of_the_list_are_written_and_others_are_not() -> None:
    written = line(key="orders-db", sequence=7, pin="hunter-two", payload=b"secret")
    assert (written["message"], written["key"], written["sequence"]) == ("said it", "orders-db", 7)
    assert not {"pin", "payload"} & set(written)


def test_an_exception_is_its_type_and_place_never_its_arguments() -> None:
    error = ValueError("the pin is hunter-two")
    record = logging.LogRecord("rekey", logging.ERROR, "file", 1, "failed", (), (ValueError, error, None))
    text = JsonLines().format(record)
    assert "ValueError" in text
    assert "hunter-two" not in text


def test_a_line_that_is_written_while_a_message_is_handled_says_which_one() -> None:
    message = BusMessage("COMMANDS", "cmd.rotate.dev.k.0123456789abcdef", {}, b"", 7, datetime.now(UTC))
    with handling(message):
        written, overridden = line(code="conflict"), line(sequence=9)
    place = {"subject": message.subject, "stream": "COMMANDS", "correlation_id": "0123456789abcdef"}
    assert {name: written.get(name) for name in place} == place
    assert (written["sequence"], written["code"], overridden["sequence"]) == (7, "conflict", 9)
    assert "subject" not in line()


def test_a_line_inside_a_span_has_the_id_of_its_trace() -> None:
    tracing = Tracing(TracerProvider(shutdown_on_exit=False))
    with tracing.span("process", parent=TraceContext("a" * 32, "b" * 16)):
        assert line()["trace_id"] == "a" * 32
    assert "trace_id" not in line()
