"""What the rotation-scheduler is told at start."""

from __future__ import annotations

from rekey_runtime.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """How often time itself is looked at."""

    tick_s: float = 1.0  # receipts and facts wake a key at once; the tick finds what time alone changes
