"""What revocation is told at start."""

from __future__ import annotations

from rekey_runtime.settings import ServiceSettings


class RevocationSettings(ServiceSettings):
    """How often stops are repeated."""

    repeat_s: float = 1.0  # until every live instance has signed that it stopped
