"""How a try ends before its time, for a ``MemoryServer``'s hooks."""

from __future__ import annotations

from collections.abc import Callable


class KilledError(BaseException):
    """What ends a process: no code of ours catches it."""


def raises(error: BaseException) -> Callable[[], None]:
    """A hook that fails."""

    def hook() -> None:
        raise error

    return hook
