"""What a service counts (Prometheus text format 0.0.4). Every label has its values from a closed list.

Names of keys, dependents, instances, people and subjects are never labels: whoever may publish could make series without
end. A value that is not in its list is counted as ``other``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rekey_core.authority import CONSUMERS, Stream
from rekey_core.errors import RekeyError, Verdict, codes
from rekey_core.names import Service
from rekey_runtime.about import EVENTS, OTHER
from rekey_runtime.health import Check, Health, Remark
from rekey_runtime.http_server import Response

DONE: Final = "done"  # the code of what went well
ALARMS: Final = frozenset(
    {"missing-sequence", "max-deliveries", "terminated", "drill-overdue", "drill-failed"}
)
"""Codes of alarms that no error has."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

LABELS: Final = {
    "service": frozenset(service.value for service in Service),
    "consumer": frozenset(consumer.name for consumer in CONSUMERS),
    "verdict": frozenset(verdict.value for verdict in Verdict),
    "event": EVENTS,
    "stream": frozenset(stream.value for stream in Stream),
    "code": frozenset({DONE, *ALARMS, *codes()}),
    "check": frozenset(check.value for check in Check),
    "remark": frozenset(remark.value for remark in Remark),
}


class Metrics:
    """The series of one service."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ready = self._gauge("rekey_ready", "1: the service is ready", "service")
        self._ready_of = _closed(service.value, "service")
        self._failing = self._gauge("rekey_check_failing", "1: this part of readiness does not work", "check")
        self._remarks = self._gauge("rekey_remark", "1: it is ready and somebody should know this", "remark")
        self._messages = self._counter(
            "rekey_messages", "messages of durable consumers, by what became of them",
            "consumer", "event", "verdict", "code",
        )  # fmt: skip
        self._handling = self._histogram("rekey_message_seconds", "from delivery to its fate", "consumer")
        self._requests = self._counter("rekey_requests", "core requests, by outcome", "event", "code")
        self._answering = self._histogram("rekey_request_seconds", "from request to answer", "event")
        self._appends = self._counter("rekey_appends", "messages stored, or not", "stream", "code")
        self._appending = self._histogram("rekey_append_seconds", "from publish to acknowledgement", "stream")
        self._pending = self._gauge("rekey_consumer_pending", "messages not delivered yet", "consumer")
        self._unacked = self._gauge(
            "rekey_consumer_unacknowledged", "messages delivered and not settled", "consumer"
        )
        self._alarms = self._counter("rekey_alarms", "things that must not be and were seen", "code")
        self._drill_due = self._gauge(
            "rekey_drill_due_timestamp_seconds", "from when on backups count as not proved", "service"
        )
        self._violations = self._counter("rekey_permission_violations", "rights that the bus refused us")
        self._dropped = self._counter("rekey_requests_dropped", "requests dropped under overload")
        self._not_after = self._gauge(
            "rekey_certificate_not_after_seconds", "Unix time at which the certificate in use expires"
        )
        self._identity_refused = self._gauge(
            "rekey_identity_refused", "1: the files of certificate or signing key hold what cannot be used"
        )

    def message(
        self, consumer: str, event: str, verdict: Verdict, error: RekeyError | None, seconds: float
    ) -> None:
        """One delivery and its fate; ``seconds`` from delivery on."""
        consumer = _closed(consumer, "consumer")
        labels = (consumer, _closed(event, "event"), verdict.value, _code(error))
        self._messages.labels(*labels).inc()
        self._handling.labels(consumer).observe(seconds)

    def request(self, event: str, code: str, seconds: float) -> None:
        """One core request and its outcome."""
        event = _closed(event, "event")
        self._requests.labels(event, _closed(code, "code")).inc()
        self._answering.labels(event).observe(seconds)

    @contextmanager
    def append(self, stream: Stream) -> Iterator[None]:
        """Around one write."""
        began, code = time.perf_counter(), DONE
        try:
            yield
        except RekeyError as error:
            code = _code(error)
            raise
        finally:
            self._appends.labels(stream.value, code).inc()
            self._appending.labels(stream.value).observe(time.perf_counter() - began)

    def consumer(self, name: str, pending: int, unacknowledged: int) -> None:
        """What the bus says of a consumer now."""
        name = _closed(name, "consumer")
        self._pending.labels(name).set(pending)
        self._unacked.labels(name).set(unacknowledged)

    def alarm(self, code: str) -> None:
        """An alarm."""
        self._alarms.labels(_closed(code, "code")).inc()

    def drill_due(self, at: datetime) -> None:
        """From when on backups count as not proved; there is no such series before a version is backed up."""
        self._drill_due.labels(self._ready_of).set(at.timestamp())

    def identity(self, not_after: datetime, *, refused: bool) -> None:
        """Until when the certificate in use is valid, and whether its files hold something that was refused."""
        self._not_after.set(not_after.timestamp())
        self._identity_refused.set(refused)

    def violation(self) -> None:
        """The bus refused us a right."""
        self._violations.inc()

    def dropped(self) -> None:
        """A request was dropped."""
        self._dropped.inc()

    def text(self, health: Health) -> bytes:
        """Every series, with readiness as it is now."""
        failing = {finding.check for finding in health.findings}
        self._ready.labels(self._ready_of).set(not failing)
        for check in Check:
            self._failing.labels(check.value).set(check in failing)
        for remark in Remark:
            self._remarks.labels(remark.value).set(remark in health.remarks)
        return generate_latest(self.registry)

    def response(self, health: Health) -> Response:
        """``/metrics``."""
        return Response(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, self.text(health))

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, _listed(labels), registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(name, words, _listed(labels), registry=self.registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(name, words, _listed(labels), registry=self.registry, buckets=SECONDS)


def _listed(labels: tuple[str, ...]) -> tuple[str, ...]:
    unknown = set(labels) - set(LABELS)
    if unknown:
        raise ValueError(f"label {', '.join(unknown)} has no list of its values")
    return labels


def _closed(value: str, label: str) -> str:
    return value if value in LABELS[label] else OTHER


def _code(error: RekeyError | None) -> str:
    return _closed(error.code, "code") if error else DONE
