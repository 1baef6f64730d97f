"""To which trace a step of a key belongs, and what led to it. Decides nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from rekey_core.contracts import Fact, RotationRequested
from rekey_core.envelope import BusMessage
from rekey_core.fold import KeyState
from rekey_core.tracecontext import Attribute, Attributes, TraceContext
from rekey_runtime.telemetry import Tracing, present_trace


@dataclass(frozen=True)
class Waker:
    """A message that woke a key: the span in which it was handled, and when it was stored."""

    trace: TraceContext
    stored_at: datetime

    @classmethod
    def of(cls, message: BusMessage | None) -> Waker | None:
        """The message that is being handled, if a trace led to it."""
        trace = present_trace()
        return cls(trace, message.stored_at) if trace and message else None


def step_span(
    tracing: Tracing, state: KeyState, fact: Fact, woken_by: Waker | None
) -> AbstractContextManager[None]:
    """A rotation is one trace, whoever woke us: what time alone begins is a new one, all else goes on with the key's."""
    name = f"step {fact.EVENT}"
    attributes: Attributes = {Attribute.KEY: state.key, Attribute.VERSION: fact.version}
    if isinstance(fact, RotationRequested) or state.trace is None:
        return tracing.root(name, attributes)
    return tracing.span(name, attributes, parent=led_by(state, state.trace, woken_by))


def led_by(state: KeyState, newest: TraceContext, woken_by: Waker | None) -> TraceContext:
    """The receipt that woke us, if it came after the newest fact and belongs to its trace; else that fact."""
    since = max((version.state_since for version in state.versions.values()), default=None)
    if woken_by is None or since is None or woken_by.stored_at <= since:
        return newest
    return woken_by.trace if woken_by.trace.trace_id == newest.trace_id else newest
