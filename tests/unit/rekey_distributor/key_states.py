"""How version 1 of a key can be found by the distributor."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rekey_core.fold import KeyState
from tests.unit.world import NOW, World


def current(w: World) -> KeyState:
    """Version 1 is active and current."""
    return w.state()


def suspended(w: World) -> KeyState:
    """A responder suspended it."""
    w.suspended(1)
    return w.state()


def compromised(w: World) -> KeyState:
    """A responder revoked it."""
    w.compromised(1)
    return w.state()


def destroyed(w: World) -> KeyState:
    """It is destroyed, after version 2 came."""
    w.version(2)
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=30))
    return w.state()


def scheduled(w: World) -> KeyState:
    """It is to be destroyed."""
    w.version(2)
    w.deactivated(1)
    w.scheduled(1)
    return w.state()


def undecidable(w: World) -> KeyState:
    """The log has a fact that this program does not know."""
    return replace(w.state(), undecidable="type v2")


def deactivated(w: World) -> KeyState:
    """Version 2 came."""
    w.version(2)
    w.deactivated(1)
    return w.state()
