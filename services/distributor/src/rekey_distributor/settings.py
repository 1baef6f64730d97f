"""What the distributor is told at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rekey_runtime.settings import ServiceSettings


class DistributorSettings(ServiceSettings):
    """Its token; public keys are served on its HTTP port."""

    hsm_module: Path
    token_label: str
    token_serial: str
    pin_file: Path
    overhear_s: float = 0.5  # how long a command that another replica took may be unknown here
    dev_lease_divisor: Annotated[int, Field(ge=1)] = (
        1  # leases are so many times shorter, for tests; never longer
    )
    sweep_s: float = 15.0  # how often every notice is held against the log
