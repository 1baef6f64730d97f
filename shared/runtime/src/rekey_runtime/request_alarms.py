"""Alarms about core requests that are none. Whoever may ask can ask as fast as the bus takes it, so what is said is bounded.

The asker's name stands in the subject, where the bus binds it to a certificate: who floods takes away its own alarms only.
An asker has ``ALARMS_EACH`` places in REPORTS for each service, used in turn, so that no flood fills the stream.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rekey_core.encoding import sha256_hex
from rekey_core.envelope import BusMessage
from rekey_core.errors import RekeyError
from rekey_runtime.bus import Bus
from rekey_runtime.clock import boottime
from rekey_runtime.reports import publish_alarm

ALARMS_EACH: Final = 32  # about one asker in WINDOW_S; more are counted, and told with the next one
WINDOW_S: Final = 60.0
ASKERS: Final = 1024  # remembered; more than the bus has accounts for
_ASKER: Final = (
    2  # req.<env>.<dependent>.…, ask.<env>.<person>.…; in rst.… and att.… what one identity offers
)


@dataclass
class _Said:
    since: float
    in_window: int = 0
    unsaid: int = 0
    place: int = 0


class RequestAlarms:
    """One service's alarms about requests."""

    def __init__(self, bus: Bus, now: Callable[[], float] = boottime) -> None:
        self._bus = bus
        self._now = now
        self._askers: OrderedDict[str, _Said] = OrderedDict()

    async def say(self, message: BusMessage, error: RekeyError) -> None:
        """Store an alarm, if the asker has not had too many of late. Raises as ``Bus.publish``."""
        asker = message.subject.split(".")[_ASKER]
        said = self._of(asker)
        if said.in_window == ALARMS_EACH:
            said.unsaid += 1
            return
        more = f"; {said.unsaid} more since the last alarm" if said.unsaid else ""
        said.in_window, said.unsaid = said.in_window + 1, 0
        said.place = (said.place + 1) % ALARMS_EACH
        place = sha256_hex(f"{asker}|{said.place}".encode())[:16]
        await publish_alarm(
            self._bus,
            subject=message.subject,
            stream=message.stream,
            sequence=message.sequence,
            code=error.code,
            text=f"{error}{more}",
            number=place,
        )

    def _of(self, asker: str) -> _Said:
        said = self._askers.setdefault(asker, _Said(self._now()))
        self._askers.move_to_end(asker)
        if len(self._askers) > ASKERS:
            self._askers.popitem(last=False)
        if self._now() - said.since >= WINDOW_S:
            said.since, said.in_window = self._now(), 0
        return said
