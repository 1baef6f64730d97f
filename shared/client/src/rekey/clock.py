"""The time that requests say they were sent at: nobody who moves the machine's clock moves it.

It is the machine's clock as it was at the start, and boot time since. A clock that was wrong then and was set right later is
found out when the distributor says that a request is too old or too new: then it is taken anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from rekey.lease import boottime

_SAME: Final = timedelta(seconds=1)


def _machine() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Wall time that runs evenly."""

    __slots__ = ("_boot", "_machine", "_offset")

    def __init__(
        self, machine: Callable[[], datetime] = _machine, boot: Callable[[], float] = boottime
    ) -> None:
        self._machine = machine
        self._boot = boot
        self._offset = self._taken()

    def now(self) -> datetime:
        """UTC."""
        return self._offset + timedelta(seconds=self._boot())

    def take_again(self) -> bool:
        """Whether the machine's clock says something else by now; then that counts."""
        before, self._offset = self._offset, self._taken()
        return abs(self._offset - before) > _SAME

    def _taken(self) -> datetime:
        return self._machine() - timedelta(seconds=self._boot())
