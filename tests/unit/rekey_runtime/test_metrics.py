"""However many names somebody makes up, there are no more series than the closed lists allow."""

from __future__ import annotations

import uuid

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from rekey_core.authority import Stream
from rekey_core.errors import ConflictError, RekeyError, UnavailableError, Verdict, codes
from rekey_core.names import Service
from rekey_runtime.about import event_of
from rekey_runtime.health import Check, Health
from rekey_runtime.metrics import LABELS, Metrics


def drive(metrics: Metrics, name: str) -> None:
    """Everything that is counted, with a name in every place where somebody outside could put one."""
    invented = type(f"{name.title().replace('-', '')}Error", (RekeyError,), {})("x")
    for subject in (
        f"evt.dev.{name}.2.generator.generated.{name}",
        f"evt.dev.{name}.2.generator.{name}.x",
        f"cmd.rotate.dev.{name}.x",
        f"cmd.{name}.dev.k.x",
        f"rcpt.dev.{name}.{name}",
        f"{name}.dev",
    ):
        metrics.message("audit", event_of(subject), Verdict.DONE, None, 0.1)
        metrics.message("audit", event_of(subject), Verdict.RETRY, invented, 0.1)
    for op in ("lease", name):
        metrics.request(event_of(f"req.dev.{name}.{name}.{op}"), "not-granted", 0.1)
        metrics.request(event_of(f"req.dev.{name}.{name}.{op}"), name, 0.1)
    metrics.consumer(name, 3, 4)
    metrics.alarm("signature")
    metrics.alarm(name)
    metrics.violation()
    metrics.dropped()
    with metrics.append(Stream.LIFECYCLE):
        pass
    for error in (ConflictError("x"), invented):
        with pytest.raises(RekeyError), metrics.append(Stream.LIFECYCLE):
            raise error


def series(metrics: Metrics) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Name and labels of every sample, as a scraper reads them."""
    text = metrics.text(Health("audit", stale_s=60)).decode()
    families = text_string_to_metric_families(text)
    return sorted((s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples)


def test_a_thousand_names_make_no_series_more() -> None:
    metrics = Metrics(Service.AUDIT)
    drive(metrics, "orders-db")
    before = series(metrics)
    for _ in range(1000):
        drive(metrics, f"orders-{uuid.uuid4().hex}")
    assert series(metrics) == before
    assert len(before) < 1000


def test_every_value_of_every_label_is_in_its_list() -> None:
    metrics = Metrics(Service.AUDIT)
    drive(metrics, "orders-db")
    seen = {(label, value) for _, labels in series(metrics) for label, value in labels if label != "le"}
    assert {label for label, _ in seen} <= set(LABELS)
    assert {(label, value) for label, value in seen if value not in LABELS[label]} <= {
        (label, "other") for label in LABELS
    }


def test_a_label_without_a_list_is_refused() -> None:
    metrics = Metrics(Service.AUDIT)
    with pytest.raises(ValueError, match="label key"):
        metrics._counter("rekey_new", "of a key", "key")  # noqa: SLF001 - how a series is made
    assert isinstance(metrics._counter("rekey_new", "of a stream", "stream"), Counter)  # noqa: SLF001


def test_readiness_is_a_series_and_so_is_each_part() -> None:
    metrics, health = Metrics(Service.AUDIT), Health("audit", stale_s=60)
    health.looked()
    assert b'rekey_ready{service="audit"} 1.0' in metrics.text(health)
    health.note(Check.HSM, UnavailableError("no"))
    text = metrics.text(health)
    assert b'rekey_ready{service="audit"} 0.0' in text
    assert b'rekey_check_failing{check="hsm"} 1.0' in text
    assert b'rekey_check_failing{check="work"} 0.0' in text


def test_a_remark_is_a_series_and_no_part_of_readiness() -> None:
    metrics, health = Metrics(Service.AUDIT), Health("audit", stale_s=60)
    health.looked()
    health.database(is_away=True)
    text = metrics.text(health)
    assert b'rekey_remark{remark="database-away"} 1.0' in text
    assert b'rekey_remark{remark="software-keys"} 0.0' in text
    assert b'rekey_ready{service="audit"} 1.0' in text
    health.database(is_away=False)
    assert b'rekey_remark{remark="database-away"} 0.0' in metrics.text(health)


def test_the_codes_are_those_of_the_tree_of_errors() -> None:
    assert {"conflict", "not-in-scope", "hsm", "unavailable", "check-sequence"} <= codes()
    assert "unavailable" in LABELS["code"]
