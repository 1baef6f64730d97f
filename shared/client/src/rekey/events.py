"""What an application is told of its keys: it need not act on any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rekey.beliefs import Stopped


@dataclass(frozen=True)
class Rotated:
    """The instance protects with another version from now on."""

    key: str
    version: int
    previous: int


@dataclass(frozen=True)
class Resumed:
    """Two people lifted what stopped a version: it is held here again, and protects again if it is the current one."""

    key: str
    version: int


@dataclass(frozen=True)
class Events:
    """Who is told."""

    rotated: Callable[[Rotated], None]
    stopped: Callable[[Stopped], None]
    resumed: Callable[[Resumed], None]
