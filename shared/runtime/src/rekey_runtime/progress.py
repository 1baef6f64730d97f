"""Whether a consumer gets on: what the bus says of it at two moments, and no more. Pure.

A consumer that exists says nothing: a pull that was refused a right, or that died with a connection, looks the same
(notes: nats §0.7). What counts is that messages are delivered and acknowledged while there are any, and that somebody asks
for them while there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Sample:
    """``CONSUMER.INFO`` at one moment."""

    pending: int  # not delivered yet
    unacknowledged: int  # delivered, and not settled
    waiting: int  # pulls that wait for a message, of all replicas
    delivered: int  # stream sequence of the newest message that was ever delivered; again is not newer
    floor: int  # stream sequence up to which all are acknowledged

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Sample:
        """From the server's answer; what is not there counts as 0."""
        return cls(
            pending=int(info.get("num_pending", 0)),
            unacknowledged=int(info.get("num_ack_pending", 0)),
            waiting=int(info.get("num_waiting", 0)),
            delivered=int(info.get("delivered", {}).get("stream_seq", 0)),
            floor=int(info.get("ack_floor", {}).get("stream_seq", 0)),
        )


@dataclass(frozen=True)
class Progress:
    """The last sample; since when nothing moved although messages wait, and since when nobody asks for any."""

    sample: Sample
    moved: datetime
    asked: datetime

    @classmethod
    def begin(cls, sample: Sample, now: datetime) -> Progress:
        """The first look."""
        return cls(sample, now, now)

    def then(self, sample: Sample, now: datetime) -> Progress:
        """The next look."""
        before = self.sample
        moves = (sample.floor, sample.delivered) != (before.floor, before.delivered) or sample.pending == 0
        asks = sample.waiting > 0 or sample.unacknowledged > 0
        return Progress(sample, now if moves else self.moved, now if asks else self.asked)

    def problem(self, now: datetime, limit_s: float) -> tuple[str, datetime] | None:
        """What is wrong and since when, if it lasts longer than the limit."""
        if (now - self.moved).total_seconds() > limit_s:
            found = self.sample
            words = f"{found.pending} messages wait, none was delivered or acknowledged"
            return f"{words} ({found.unacknowledged} unacknowledged)", self.moved
        if (now - self.asked).total_seconds() > limit_s:
            return "nobody asks for its messages", self.asked
        return None
