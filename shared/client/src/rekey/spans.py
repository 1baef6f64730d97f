"""What an instance or a person adds to a trace: spans as log records, and the header that its messages carry on.

No tracing library: a span is a record of the logger ``rekey.spans`` (level DEBUG) whose attribute ``span`` has its ids,
times and names. ``SpanFile`` writes them as JSON lines; an application may attach a handler of its own instead.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from rekey_core.envelope import BusMessage
from rekey_core.tracecontext import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    TRACEPARENT,
    Attribute,
    Attributes,
    TraceContext,
    parse_traceparent,
)

LED_BY_S: Final = (
    3600  # what was stored longer ago did not lead to what is done now: who joins later begins no old trace
)
FILE_BYTES: Final = 4 << 20  # of one file; then it is renamed and a new one begins
OLD_FILES: Final = 1

_log = logging.getLogger("rekey.spans")


@dataclass
class _Open:
    context: TraceContext
    used: bool = False


_CURRENT: Final[ContextVar[_Open | None]] = ContextVar("rekey.spans", default=None)


def trace_headers() -> dict[str, str]:
    """The header of a message that is sent inside the present span; none outside of one."""
    current = _CURRENT.get()
    if current is None:
        return {}
    current.used = True
    return {TRACEPARENT: str(current.context)}


def led_by(message: BusMessage | None, now: datetime) -> TraceContext | None:
    """The span that a message comes from, if it was stored recently enough to be the reason of what is done now."""
    if message is None or now - message.stored_at > timedelta(seconds=LED_BY_S):
        return None
    return parse_traceparent(message.headers)


@contextmanager
def new_trace(name: str, attributes: Attributes) -> Iterator[TraceContext]:
    """A span that nothing led to: what a person does."""
    context = TraceContext(secrets.token_hex(TRACE_ID_BYTES), secrets.token_hex(SPAN_ID_BYTES))
    with _inside(context, None, name, attributes):
        yield context


@contextmanager
def following(parent: TraceContext | None, name: str, attributes: Attributes) -> Iterator[None]:
    """A span of the parent's trace; without a parent there is none, and messages carry no header."""
    if parent is None:
        yield
        return
    with _inside(parent.child(secrets.token_hex(SPAN_ID_BYTES)), parent, name, attributes):
        yield


@contextmanager
def _inside(
    context: TraceContext, parent: TraceContext | None, name: str, attributes: Attributes
) -> Iterator[None]:
    current, began = _Open(context), datetime.now(UTC)
    token = _CURRENT.set(current)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        if current.used and context.sampled:  # where nothing was sent there is nothing to follow
            span = {
                "trace_id": context.trace_id,
                "span_id": context.span_id,
                "parent_id": parent.span_id if parent else None,
                "name": name,
                "start": began.isoformat(),
                "end": datetime.now(UTC).isoformat(),
                "attributes": {Attribute(key).value: value for key, value in attributes.items()},
            }
            _log.debug("%s", name, extra={"span": span})


class SpanFile(RotatingFileHandler):
    """Appends each span to a file as one JSON line; the file and its one predecessor have ``FILE_BYTES`` each at most."""

    def __init__(self, path: Path, service: str) -> None:
        with suppress(OSError):  # then no span can be written, which ends nobody's work
            path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        self._service = service

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A span that cannot be written is lost; nothing is said on the application's standard error."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        span: dict[str, object] = getattr(record, "span", {})
        return json.dumps({"service": self._service, **span})


@contextmanager
def written_to(path: Path | None, service: str) -> Iterator[None]:
    """Write every span of this process to a file for as long as the block runs; without a path nothing is written."""
    if path is None:
        yield
        return
    handler, level = SpanFile(path, service), _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    _log.propagate = False  # a span is no news for an application's log
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        _log.propagate = True
        handler.close()
