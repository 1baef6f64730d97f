"""A log line carries the fields of the list and nothing else."""

from __future__ import annotations

import json
import logging

from rekey_runtime.log import JsonLines


def line(**extra: object) -> dict[str, object]:
    """One record as the log would write it."""
    record = logging.LogRecord("rekey", logging.INFO, "file", 1, "said %s", ("it",), None)
    record.__dict__.update(extra)
    found: dict[str, object] = json.loads(JsonLines().format(record))
    return found


def test_fields_of_the_list_are_written_and_others_are_not() -> None:
    written = line(key="orders-db", sequence=7, pin="1234", payload=b"secret")
    assert (written["message"], written["key"], written["sequence"]) == ("said it", "orders-db", 7)
    assert not {"pin", "payload"} & set(written)


def test_an_exception_is_its_type_and_place_never_its_arguments() -> None:
    error = ValueError("the pin is 1234")
    record = logging.LogRecord("rekey", logging.ERROR, "file", 1, "failed", (), (ValueError, error, None))
    text = JsonLines().format(record)
    assert "ValueError" in text
    assert "1234" not in text
