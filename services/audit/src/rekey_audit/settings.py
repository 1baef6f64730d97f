"""What audit is told at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rekey_runtime.settings import ServiceSettings


class AuditSettings(ServiceSettings):
    """Nothing of its own to hold but limits: it has no token and no authority over any key."""

    database: Path | None = (
        None  # a file with the URL of our rows, 0600; none: the whole log is read at each start
    )
    drills_s: Annotated[float, Field(gt=0)] = 60.0  # how often it is looked whether a drill is due
    flush_s: Annotated[float, Field(gt=0)] = 2.0  # how often alarms that the bus did not take are tried again
