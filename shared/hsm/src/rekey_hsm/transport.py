"""The AES transport keys of one process of the distributor: one per dependent, none older than 30 days.

A key is a session object and is gone with the process; the replicas have different ones, and nobody has to agree: each key
travels with every version that is wrapped under it. No wrap is ever made under a key whose time is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pkcs11.types import Object

# Far below the 2 years of a symmetric key-wrapping key (NIST SP 800-57 part 1 Rev 5 §5.3.6, table 1): it costs two calls.
TRANSPORT_KEY_LIFETIME: Final = timedelta(days=30)
MAX_TRANSPORT_KEYS: Final = 1024  # session objects; each is one dependent

Recipient = tuple[str, str]  # name, SHA-256 of the trusted key's SubjectPublicKeyInfo


@dataclass(frozen=True)
class TransportKey:
    """A handle, the key itself wrapped to the recipient's trusted key (RSA-OAEP), and when it was made."""

    handle: Object
    wrapped: bytes
    made_at: datetime

    def is_over(self, at: datetime) -> bool:
        """Whether its time is over. A clock that went back behind its making ends it too."""
        return not timedelta() <= at - self.made_at < TRANSPORT_KEY_LIFETIME


class TransportKeys:
    """Keys by recipient, in the order in which they were made; what is over or falls out is destroyed."""

    def __init__(self, bound: int = MAX_TRANSPORT_KEYS) -> None:
        self._bound = bound
        self._kept: OrderedDict[Recipient, TransportKey] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(
        self, recipient: Recipient, at: datetime, make: Callable[[], tuple[Object, bytes]]
    ) -> TransportKey:
        """The recipient's key at that time, made now if there is none."""
        self._retire(at)
        kept = self._kept.get(recipient)
        if kept is None:
            kept = self._kept[recipient] = TransportKey(*make(), at)
            while len(self._kept) > self._bound:
                self._destroy()
        return kept

    def clear(self) -> None:
        """Drop the handles of a session that is gone; there is nothing left to destroy."""
        self._kept.clear()

    def _retire(self, at: datetime) -> None:
        """The oldest ones are the first whose time is over; the newest ones, if the clock went back."""
        while self._kept and next(iter(self._kept.values())).is_over(at):
            self._destroy()
        while self._kept and next(reversed(self._kept.values())).is_over(at):
            self._destroy(newest=True)

    def _destroy(self, *, newest: bool = False) -> None:
        _, key = self._kept.popitem(last=newest)
        key.handle.destroy()
