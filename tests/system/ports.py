"""Ports for the servers of tests, which neither a connection nor another process of tests takes before they listen.

A port that the kernel chose for a moment it gives to whoever asks next, and in a row of such ports each second one is among
those that it gives to connections. So these lie below its range. A process of tests has a block of them, by a lock that ends
with it, and hands them out one after the other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from rekey_local.plan import is_free

FIRST: Final = 10_000
BLOCK: Final = 500
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL: Final = 32_768  # where the kernel's range begins if nobody has changed that


def free_port() -> int:
    """A port on which nobody listens."""
    return ports_in_a_row(1)


def ports_in_a_row(count: int) -> int:
    """The first of so many ports on which nobody listens."""
    while True:
        first = _next(count)
        if all(map(is_free, range(first, first + count))):
            return first


class _Handed:
    """How many ports of its block this process has handed out since it began at its first one."""

    out = 0


def _next(count: int) -> int:
    if _Handed.out + count > BLOCK:
        _Handed.out = 0
    first = _block() + _Handed.out
    _Handed.out += count
    return first


@cache
def _block() -> int:
    """The first port of a block that no other process has; the lock is of the open file, which nobody closes."""
    begins = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else _USUAL
    end = begins if begins >= FIRST + BLOCK else _USUAL
    directory = Path(tempfile.gettempdir(), f"rekey-test-ports-{os.getuid()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    for first in range(FIRST, end - BLOCK + 1, BLOCK):
        lock = os.open(directory / str(first), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return first
    raise AssertionError(f"every block of ports from {FIRST} to {end} is locked in {directory}")
