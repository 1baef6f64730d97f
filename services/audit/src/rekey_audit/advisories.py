"""What the server says of messages that it gave up, and which of it is everyday life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rekey_core.authority import Stream

REPLACED: Final = "Unacknowledged message was deleted"  # nats-server 2.15, reason of a terminated delivery
_CUMULATIVE: Final = frozenset(
    {Stream.RECEIPTS, Stream.QUOTAS}
)  # whoever reads the newer one needs no older one


def is_everyday(advisory: Mapping[str, object]) -> bool:
    """Whether a newer receipt or ledger took the place of one that was delivered and not yet acknowledged.

    Both are cumulative, so nothing is lost by that. In any other stream a message that went away is an alarm.
    """
    return advisory.get("stream") in _CUMULATIVE and advisory.get("reason") == REPLACED
