"""What the process is inside of, and since when: a handler that never comes back is seen, whatever it waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class AtWork:
    """Everything that was begun and has not ended."""

    _begun: dict[object, tuple[str, float]] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Inside of something, for as long as the block runs."""
        token = object()
        self._begun[token] = (what, time.monotonic())
        try:
            yield
        finally:
            del self._begun[token]

    def stuck(self, limit_s: float) -> tuple[str, datetime] | None:
        """The oldest thing that takes longer than the limit, and since when."""
        if not self._begun:
            return None
        what, began = min(self._begun.values(), key=lambda begun: begun[1])
        age = time.monotonic() - began
        return (what, datetime.now(UTC) - timedelta(seconds=age)) if age > limit_s else None
