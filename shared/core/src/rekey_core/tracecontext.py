"""W3C Trace Context as a value: which trace a message belongs to, and which span it comes from. Decides nothing.

The header is outside every signature (DESIGN §3), so anybody who may write a message may say anything in it. What is not
exactly a version 00 header counts as none.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

TRACEPARENT: Final = "traceparent"
TRACE_ID_BYTES: Final = 16  # W3C Trace Context §3.2.2.3
SPAN_ID_BYTES: Final = 8  # §3.2.2.4
SAMPLED: Final = 0x01  # §3.2.2.5.1
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Attribute(enum.StrEnum):
    """The keys that a span may have; there is no other way to set one. Names are in it, contents are not."""

    STREAM = "rekey.stream"
    KEY = "rekey.key"
    VERSION = "rekey.version"
    DEPENDENT = "rekey.dependent"
    INSTANCE = "rekey.instance"
    PERSON = "rekey.person"
    SEQUENCE = "rekey.sequence"
    DELIVERED = "rekey.delivered"  # how often, this time included
    CODE = "rekey.code"  # of the error that ended it


Attributes: TypeAlias = Mapping[Attribute, str | int]


@dataclass(frozen=True)
class TraceContext:
    """One span of one trace; ids as lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """The header's value (§3.2)."""
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED if self.sampled else 0:02x}"

    def child(self, span_id: str) -> TraceContext:
        """Another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.sampled)


def parse_traceparent(headers: Mapping[str, str]) -> TraceContext | None:
    """The trace context in a message's headers; none when there is none, or none that the standard allows."""
    match = _FORM.fullmatch(headers.get(TRACEPARENT, ""))
    if match is None or not match[1].strip("0") or not match[2].strip("0"):  # all zeros is not an id
        return None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & SAMPLED))
