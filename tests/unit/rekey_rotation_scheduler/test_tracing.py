"""What a step of a rotation follows: the newest fact, or the receipt that came after it and belongs to its trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rekey_core.fold import KeyState
from rekey_core.tracecontext import TraceContext
from rekey_rotation_scheduler.tracing import Waker, led_by
from tests.unit.facts import world

FACT = TraceContext("a" * 32, "b" * 16)
RECEIPT = TraceContext("a" * 32, "c" * 16)
OTHER = TraceContext("d" * 32, "e" * 16)


def state() -> KeyState:
    """A key with versions, of which the newest fact belongs to a trace."""
    return replace(world(versions=1).state(), trace=FACT)


def since(state: KeyState) -> datetime:
    """When its newest fact was stored."""
    return max(version.state_since for version in state.versions.values())


@pytest.mark.parametrize(
    ("trace", "after_s", "expected"),
    [
        pytest.param(None, 1, FACT, id="nobody woke us: time did"),
        pytest.param(RECEIPT, 1, RECEIPT, id="a receipt of this trace, after the fact"),
        pytest.param(RECEIPT, -1, FACT, id="a receipt that came before the fact cannot lead beyond it"),
        pytest.param(OTHER, 1, FACT, id="a receipt of another trace"),
    ],
)
def test_led_by(trace: TraceContext | None, after_s: int, expected: TraceContext) -> None:
    key = state()
    woken = Waker(trace, since(key) + timedelta(seconds=after_s)) if trace else None
    assert led_by(key, FACT, woken) == expected
