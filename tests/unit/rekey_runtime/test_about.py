"""What a message is about comes from its subject, and from nothing that somebody could make up without end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rekey_core.envelope import BusMessage
from rekey_runtime.about import ABOUT, EVENTS, event_of, handling, names_in


@pytest.mark.parametrize(
    ("subject", "event", "names"),
    [
        ("evt.dev.orders-db.2.generator.generated.0123456789abcdef", "generated", {"key": "orders-db", "version": "2"}),
        ("dlv.dev.orders-db.2.0123456789abcdef", "delivered", {"key": "orders-db", "version": "2"}),
        ("cmd.rotate.dev.orders-db.0123456789abcdef", "rotate", {"key": "orders-db"}),
        ("ntc.dev.orders.orders-db", "notice", {"dependent": "orders", "key": "orders-db"}),
        ("rcpt.dev.orders.i1", "receipt", {"dependent": "orders", "instance": "i1"}),
        ("req.dev.orders.i1.lease", "lease", {"dependent": "orders", "instance": "i1"}),
        ("rpt.dev.audit.alert.0123456789abcdef", "alert", {}),
        ("ask.dev.alice.ls", "question", {}),
        ("evt.dev.orders-db.2.generator.invented.x", "other", {"key": "orders-db", "version": "2"}),
        ("cmd.invented.dev.orders-db.x", "other", {"key": "orders-db"}),
        ("evt.dev.Not A Name.2.generator.generated.x", "generated", {"version": "2"}),
        ("evt", "other", {}),
        ("", "other", {}),
    ],
)  # fmt: skip
def test_event_and_names(subject: str, event: str, names: dict[str, str]) -> None:
    assert event_of(subject) == event
    assert {name.removeprefix("rekey."): value for name, value in names_in(subject).items()} == names
    assert event in EVENTS


def test_what_is_being_handled_is_known_meanwhile_and_not_after() -> None:
    message = BusMessage("COMMANDS", "cmd.rotate.dev.k.0123456789abcdef", {}, b"", 7, datetime.now(UTC))
    with handling(message):
        assert ABOUT.get()["correlation_id"] == "0123456789abcdef"
        assert ABOUT.get()["sequence"] == 7
    assert ABOUT.get() == {}
