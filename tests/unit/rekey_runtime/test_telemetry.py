"""Spans of a service: only where a trace led, only keys of the list, files of bounded size, OTLP where it is configured."""

from __future__ import annotations

import http.server
import importlib.abc
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.names import Service
from rekey_core.tracecontext import Attribute, TraceContext, parse_traceparent
from rekey_runtime import span_export
from rekey_runtime.settings import ServiceSettings
from rekey_runtime.span_export import provider
from rekey_runtime.telemetry import Tracing, present_trace, trace_id

PARENT = TraceContext("a" * 32, "b" * 16)


def settings(directory: Path, **changed: object) -> ServiceSettings:
    """Of a generator that is never started."""
    none = directory / "none"
    fields: dict[str, object] = {
        "env": "dev",
        "service": Service.GENERATOR,
        "bus_url": "tls://127.0.0.1:1",
        **dict.fromkeys(("tls_cert", "tls_key", "tls_ca", "signing_key"), none),
        "trust_genesis": "0" * 64,
        "state_dir": directory,
    }
    return ServiceSettings.model_validate(fields | changed)


def lines(directory: Path) -> list[dict[str, object]]:
    """The spans in the state directory."""
    file = directory / span_export.FILE_NAME
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_span_is_a_child_of_what_led_to_it_and_messages_carry_it_on(tmp_path: Path) -> None:
    tracing = Tracing(provider(settings(tmp_path)))
    with tracing.span("process", {Attribute.KEY: "orders-db"}, parent=PARENT):
        outer = present_trace()
        with tracing.span("append"):
            carried = parse_traceparent(tracing.headers())
        assert trace_id() == {"trace_id": PARENT.trace_id}
    tracing.close()
    assert outer is not None
    assert carried is not None
    append, process = lines(tmp_path)
    assert (process["trace_id"], process["parent_id"]) == (PARENT.trace_id, PARENT.span_id)
    assert (process["span_id"], process["attributes"]) == (outer.span_id, {"rekey.key": "orders-db"})
    assert (append["span_id"], append["parent_id"]) == (carried.span_id, outer.span_id)


def test_where_no_trace_led_nothing_is_recorded(tmp_path: Path) -> None:
    tracing = Tracing(provider(settings(tmp_path)))
    with tracing.span("append"):
        assert (present_trace(), tracing.headers(), trace_id()) == (None, {}, {})
    with tracing.span("append", parent=TraceContext("a" * 32, "b" * 16, sampled=False)):
        assert tracing.headers()["traceparent"].endswith("-00")
    tracing.close()
    assert lines(tmp_path) == []


def test_an_error_is_its_code_never_its_message(tmp_path: Path) -> None:
    tracing = Tracing(provider(settings(tmp_path)))
    with pytest.raises(UnavailableError), tracing.root("step"):
        raise UnavailableError("the pin is hunter-two")
    with pytest.raises(ZeroDivisionError), tracing.root("step"):
        raise ZeroDivisionError("the pin is hunter-two")
    tracing.close()
    assert [span["attributes"] for span in lines(tmp_path)] == [{"rekey.code": "unavailable"}, {}]
    assert "hunter-two" not in (tmp_path / span_export.FILE_NAME).read_text()


def test_a_key_outside_of_the_list_is_no_attribute(tmp_path: Path) -> None:
    tracing = Tracing(provider(settings(tmp_path)))
    with pytest.raises(ValueError, match=r"rekey\.pin"), tracing.root("step", {"rekey.pin": "1"}):  # type: ignore[dict-item]
        pass
    tracing.close()


def test_the_file_is_bounded_and_the_newest_spans_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "FILE_BYTES", 4000)
    tracing = Tracing(provider(settings(tmp_path)))
    for number in range(100):
        with tracing.root(f"step {number}"):
            pass
    tracing.close()
    assert [path.stat().st_size <= 4000 for path in tmp_path.iterdir()] == [True, True]
    assert lines(tmp_path)[-1]["name"] == "step 99"


def test_a_file_that_cannot_be_written_loses_spans_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / span_export.FILE_NAME).mkdir()
    tracing = Tracing(provider(settings(tmp_path)))
    with tracing.root("step"):
        pass
    tracing.close()
    assert "spans-lost" in {getattr(record, "event", "") for record in caplog.records}


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        del format, args


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Its address and what it was sent."""
    bodies: list[bytes] = []
    server = http.server.HTTPServer(("127.0.0.1", 0), type("One", (Collector,), {"bodies": bodies}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_where_otlp_is_configured_spans_go_to_the_collector(
    tmp_path: Path, collector: tuple[str, list[bytes]]
) -> None:
    address, bodies = collector
    tracing = Tracing(provider(settings(tmp_path, otlp_endpoint=address)))
    with tracing.span("append", {Attribute.STREAM: "LIFECYCLE"}, parent=PARENT):
        pass
    tracing.close()
    sent = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    spans = [s for one in sent for r in one.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert [(s.name, s.trace_id.hex(), s.parent_span_id.hex()) for s in spans] == [
        ("append", PARENT.trace_id, PARENT.span_id)
    ]
    resource = {a.key: a.value.string_value for a in sent[0].resource_spans[0].resource.attributes}
    assert resource == {"service.name": "rekey-generator", "deployment.environment": "dev"}
    assert lines(tmp_path) == []


class _Absent(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(fullname)
        return None


def test_otlp_that_is_not_installed_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        provider(settings(tmp_path, otlp_endpoint="http://127.0.0.1:1"))
    assert "rekey-runtime[otlp]" in (caught.value.hint or "")
