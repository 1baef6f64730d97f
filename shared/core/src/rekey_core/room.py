"""Who may still store when a stream fills up (DESIGN §3, emergency lane): what is left above belongs to revocation. Pure.

The shares leave room for what comes between two looks: ``LOOK_S`` of the fastest writer measured (7,000 messages/s of 1 KiB)
are 35 MiB, 1 % of LIFECYCLE and 4 % of REPORTS.
"""

from __future__ import annotations

from typing import Final

from rekey_core.authority import Stream
from rekey_core.errors import NoRoomError, UnavailableError
from rekey_core.names import Service

WATCHED: Final = (Stream.LIFECYCLE, Stream.REPORTS)
"""The streams whose size every service may see (``STREAM.INFO``), beside those that it reads."""

DELIVERIES_UNTIL: Final = 0.80  # of LIFECYCLE; no version is given to another instance
ROTATIONS_UNTIL: Final = 0.85  # of LIFECYCLE; no key is registered, no rotation begins; those under way go on
REPORTS_UNTIL: Final = 0.80  # of REPORTS
REVOCATIONS_REPORTS_UNTIL: Final = (
    0.95  # of REPORTS; at the very end not even they keep a command from being settled
)
LOOK_S: Final = 5.0  # how often services look

_HINT: Final = "found the bus with more room for the stream (max_bytes in the authority table)"


def check_delivery(share: float) -> None:
    """A first delivery may be recorded.

    Raises:
        UnavailableError: not now; the instance asks again.
    """
    if share >= DELIVERIES_UNTIL:
        message = f"LIFECYCLE is {share:.0%} full, deliveries are recorded below {DELIVERIES_UNTIL:.0%}"
        raise UnavailableError(message, hint=_HINT)


def check_rotation(share: float) -> None:
    """A key may be registered or a rotation begin.

    Raises:
        NoRoomError: the rest belongs to revocation.
    """
    if share >= ROTATIONS_UNTIL:
        message = f"LIFECYCLE is {share:.0%} full, rotations begin below {ROTATIONS_UNTIL:.0%}"
        raise NoRoomError(message, hint=_HINT)


def takes_report(share: float, service: Service) -> bool:
    """Whether a service's report is stored; else its log alone has it."""
    return share < (REVOCATIONS_REPORTS_UNTIL if service is Service.REVOCATION else REPORTS_UNTIL)
