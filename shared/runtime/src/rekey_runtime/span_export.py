"""Where a service's spans go: a file of bounded size by default, an OTLP collector when its address is configured."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id

from rekey_core.errors import ConfigurationError
from rekey_runtime.settings import ServiceSettings

FILE_BYTES: Final = 16 << 20  # of one file, some 40,000 spans; then it is renamed and a new one begins
OLD_FILES: Final = 1
FILE_NAME: Final = "spans.jsonl"
SCHEDULE_MS: Final = 500  # how long a span may wait for others to be written with; a crash loses as much
QUEUE: Final = 4096  # spans that wait; more are dropped, so that a slow disk or collector delays no message
BATCH: Final = 512
OTLP_TIMEOUT_S: Final = 5

_log = logging.getLogger(__name__)


class SpanFile(SpanExporter):
    """JSON lines: ids, times, names. The file and its one predecessor have ``FILE_BYTES`` each at most."""

    def __init__(self, path: Path, service: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._service = service
        self._file = _Lines(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans; what cannot be written is lost, and the log says so."""
        try:
            for span in spans:
                line = json.dumps(_plain(span, self._service))
                self._file.emit(logging.makeLogRecord({"msg": line}))
        except OSError as error:
            _log.warning("spans: %s", error.strerror, extra={"event": "spans-lost"})
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


class _Lines(RotatingFileHandler):
    """Bounded; an error is the caller's to see, not printed."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        del record
        raise  # noqa: PLE0704 - logging calls this from its except block


def provider(settings: ServiceSettings) -> TracerProvider:
    """What makes and exports this service's spans.

    Raises:
        ConfigurationError: OTLP is configured and its exporter is not installed.
    """
    resource = Resource({"service.name": f"rekey-{settings.service}", "deployment.environment": settings.env})
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    made.add_span_processor(
        BatchSpanProcessor(
            _exporter(settings),
            max_queue_size=QUEUE,
            schedule_delay_millis=SCHEDULE_MS,
            max_export_batch_size=BATCH,
        )
    )
    return made


def _exporter(settings: ServiceSettings) -> SpanExporter:
    if settings.otlp_endpoint is None:
        path = settings.trace_file or settings.state_dir / FILE_NAME
        return SpanFile(path, settings.service.value)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise ConfigurationError(
            "otlp_endpoint is set, and the OTLP exporter is not installed",
            hint="install rekey-runtime[otlp] into this environment, or leave otlp_endpoint out",
        ) from error
    return OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=OTLP_TIMEOUT_S)


def _plain(span: ReadableSpan, service: str) -> dict[str, object]:
    context = span.get_span_context()
    return {
        "service": service,
        "trace_id": format_trace_id(context.trace_id) if context else None,
        "span_id": format_span_id(context.span_id) if context else None,
        "parent_id": format_span_id(span.parent.span_id) if span.parent else None,
        "name": span.name,
        "start": _time(span.start_time),
        "end": _time(span.end_time),
        "attributes": dict(span.attributes or {}),
    }


def _time(nanoseconds: int | None) -> str | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat() if nanoseconds else None
