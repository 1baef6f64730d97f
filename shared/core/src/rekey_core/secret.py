"""Key bytes and PINs travel in this type only: it does not print, compare in variable time, pickle or serialise."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Bytes that must not be seen. ``reveal()`` is the one way out, so that a reader can find every use."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes themselves; keep them no longer than the call that needs them."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Constant-time comparison."""
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        message = "a secret is not serialisable"
        raise TypeError(message)
