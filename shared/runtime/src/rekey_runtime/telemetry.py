"""Tracing: off unless settings name a file; W3C trace context rides along and decides nothing (DESIGN §3)."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Final

from faststream.nats.opentelemetry import NatsTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

TRACEPARENT: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)
"""Trace context of the message being handled; ``Bus.pack`` passes it on."""

MAX_TRACEPARENT: Final = 55  # W3C Trace Context §3.2: 00-<32>-<16>-<2>


def traceparent_of(headers: dict[str, str]) -> str | None:
    """The incoming trace context, if it has the length that the standard gives it."""
    value = headers.get("traceparent", "")
    return value if len(value) == MAX_TRACEPARENT and value.isascii() else None


def tracing(service: str, path: Path | None) -> tuple[NatsTelemetryMiddleware, ...]:
    """FastStream's tracing middleware writing spans as JSON lines to ``path``; none without a path."""
    if path is None:
        return ()
    provider = TracerProvider(resource=Resource.create({"service.name": f"rekey-{service}"}))
    out = path.open("a", encoding="utf-8")  # closed by the exporter's process end
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return (NatsTelemetryMiddleware(tracer_provider=provider),)
