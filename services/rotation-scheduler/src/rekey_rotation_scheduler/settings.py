"""What the rotation-scheduler is told at start."""

from __future__ import annotations

from pathlib import Path

from rekey_runtime.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """How often time itself is looked at."""

    database: Path | None = (
        None  # a file with the URL of our rows, 0600; none: every key is looked at after a start
    )
    tick_s: float = 1.0  # receipts and facts wake a key at once; the tick finds what time alone changes
