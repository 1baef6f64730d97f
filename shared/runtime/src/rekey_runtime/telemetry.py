"""Spans of a service: around what it handles, what it answers and what it stores (OpenTelemetry; HOUSE §2.30).

A span exists only where a trace led: the header of a message, or the newest fact of a key. What nobody traces is counted
and not recorded. Attributes come from one list; names of keys, dependents and instances are in it, contents are not, and
no exception is recorded, only its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from rekey_core.errors import RekeyError
from rekey_core.tracecontext import TRACEPARENT, Attribute, Attributes, TraceContext

NO_ATTRIBUTES: Final[Attributes] = {}


class Tracing:
    """The spans of one service. The present span is OpenTelemetry's own context, per task."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("rekey")

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        parent: TraceContext | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[None]:
        """A child of ``parent``, else of the present span; nothing where there is neither."""
        parent = parent or present_trace()
        if parent is None:
            yield
            return
        with self._opened(name, kind, attributes, parent):
            yield

    @contextmanager
    def root(self, name: str, attributes: Attributes = NO_ATTRIBUTES) -> Iterator[None]:
        """The first span of a new trace: for what time alone begins."""
        with self._opened(name, SpanKind.INTERNAL, attributes, None):
            yield

    def headers(self) -> dict[str, str]:
        """What a message that is sent now carries on."""
        present = present_trace()
        return {TRACEPARENT: str(present)} if present else {}

    def close(self) -> None:
        """Write what is not written yet."""
        self._provider.shutdown()

    @contextmanager
    def _opened(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: TraceContext | None
    ) -> Iterator[None]:
        opened = self._tracer.start_as_current_span(
            name,
            trace.set_span_in_context(_remote(parent) if parent else trace.INVALID_SPAN),
            kind,
            {Attribute(key).value: value for key, value in attributes.items()},
            record_exception=False,  # a message or a traceback may hold what no span may
            set_status_on_exception=False,
        )
        with opened as span:
            try:
                yield
            except RekeyError as error:
                span.set_attribute(Attribute.CODE, error.code)
                raise


def present_trace() -> TraceContext | None:
    """The span that we are in."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    ids = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return TraceContext(*ids, context.trace_flags.sampled)


def trace_id() -> Mapping[str, str]:
    """The trace that we are in, as a field of a log line."""
    present = present_trace()
    return {"trace_id": present.trace_id} if present else {}


def _remote(parent: TraceContext) -> Span:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags))  # noqa: FBT003
