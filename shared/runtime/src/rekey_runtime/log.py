"""Logs are JSON lines on stderr with fields from one list; whatever else a record carries is not written.

An allow-list and not a scrubber: what nobody named cannot leak (HOUSE §2.17).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from rekey_runtime.about import ABOUT
from rekey_runtime.telemetry import trace_id

FIELDS: Final = (
    "event",
    "service",
    "key",
    "version",
    "subject",
    "stream",
    "sequence",
    "code",
    "correlation_id",
    "trace_id",
)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, the allowed extra fields, and what is being handled.

    A line that is written while a message is handled has its place, its correlation id and, if it has one, its trace id.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; an exception becomes its type and place, never its arguments."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said = {**ABOUT.get(), **trace_id(), **vars(record)}
        line |= {name: said[name] for name in FIELDS if said.get(name) is not None}
        if record.exc_info:
            line["traceback"] = _places(record)
        return json.dumps(line, default=str, ensure_ascii=False)


def _places(record: logging.LogRecord) -> list[str]:
    kind, _, traceback = record.exc_info or (None, None, None)
    places = [kind.__name__] if kind else []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places


def configure_log(level: int = logging.INFO) -> None:
    """Send every logger of the process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("faststream", "faststream.access", "nats"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def say(event: str, **fields: str) -> None:
    """One JSON line on stdout for the supervisor: readiness, its changes, and why the process ends; nothing else."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()
