"""A trace context is exactly what W3C says, or none."""

from __future__ import annotations

import pytest

from rekey_core.tracecontext import TraceContext, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="an empty header"),
        pytest.param(f"00-{TRACE}-{SPAN}", id="no flags"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", id="more than version 00 has"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", id="another version"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", id="upper-case digits"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="a trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="a span id of zeros"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", id="a line break after it"),
        pytest.param(f"00-{TRACE}-{SPAN}-0\u0661", id="a digit of another alphabet"),
        pytest.param("x" * 100_000, id="something long"),
    ],
)
def test_what_is_not_exactly_a_trace_context_is_none(value: str | None) -> None:
    assert parse_traceparent({} if value is None else {"traceparent": value}) is None


@pytest.mark.parametrize(
    ("flags", "sampled", "written"),
    [
        pytest.param("01", True, "01", id="sampled"),
        pytest.param("00", False, "00", id="not sampled"),
        pytest.param("03", True, "01", id="a flag that we do not know is not passed on"),
    ],
)
def test_a_child_is_of_the_same_trace_and_as_sampled_as_its_parent(
    flags: str,
    sampled: bool,  # noqa: FBT001 - a column of the table
    written: str,
) -> None:
    found = parse_traceparent({"traceparent": f"00-{TRACE}-{SPAN}-{flags}"})
    assert found == TraceContext(TRACE, SPAN, sampled)
    assert found is not None
    assert str(found.child("b" * 16)) == f"00-{TRACE}-{'b' * 16}-{written}"
