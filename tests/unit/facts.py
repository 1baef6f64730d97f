"""Facts as a service, honest or not, could write them: right unless the changes say otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from rekey_core.commands import command_id
from rekey_core.contracts import (
    Fact,
    Generated,
    Granted,
    Registered,
    Resume,
    Resumed,
    RotationRequested,
    SignedCommand,
    Suspended,
)
from rekey_core.envelope import Stored
from rekey_core.lifecycle import VersionState
from tests.unit.world import NOW, World

BASE: Final = World()  # made once: keys cost time
HOUR: Final = timedelta(hours=1)


def person_request(w: World, command: SignedCommand | None, version: int = 2, **fields: Any) -> Fact:
    """``rotation-requested`` for a person."""
    cause = command_id(command) if command else "cause"
    body: dict[str, Any] = {"reason": "person", "deadline": NOW + HOUR, "command": command}
    return w.fact(RotationRequested, version, cause, **(body | fields))


def registration(w: World, command: SignedCommand | None = None, **changes: Any) -> Fact:
    """``registered`` as the command says it, with changes."""
    command = command or w.register()
    body: dict[str, Any] = {
        "owner": "alice",
        "key_class": "application-data",
        "algorithm": "AES-256-GCM",
        "release": "trusted-recipient",
        "purpose": "orders at rest",
        "cryptoperiod_s": 90 * 24 * 3600,
        "command": command,
    }
    return w.fact(Registered, 0, changes.pop("cause", command_id(command)), **(body | changes))


def grant(w: World, command: SignedCommand, dependent: str = "orders", **changes: Any) -> Fact:
    """``granted`` by a command."""
    return w.fact(Granted, 0, command_id(command), 7, dependent=dependent, command=command, **changes)


def stop(
    w: World, command: SignedCommand, version: int, kind: type[Fact] = Suspended, **changes: Any
) -> Fact:
    """``suspended`` or ``compromised`` by a command."""
    return w.fact(kind, version, changes.pop("cause", command_id(command)), command=command, **changes)


def generation(w: World, request: Stored[Fact] | None, version: int, **changes: Any) -> Fact:
    """``generated`` for a request."""
    body: dict[str, Any] = {
        "algorithm": "AES-256-GCM",
        "release": "trusted-recipient",
        "epoch": 1,
        "key_id": 4711,
        "blob_digest": "ab" * 32,
        "commitment": "cd" * 32,
    }
    return w.fact(Generated, version, str(request.model.id) if request else "cause", **(body | changes))


def world(*, versions: int = 0, release: str = "trusted-recipient", key_class: str | None = None) -> World:
    """A registered key with this many activated versions."""
    fresh = replace(BASE, log=[])
    fresh.registered(release=release, key_class=key_class)
    for number in range(1, versions + 1):
        fresh.version(number)
    return fresh


def states(w: World) -> dict[int, VersionState]:
    """The state of every version."""
    return {n: v.state for n, v in w.state().versions.items()}


def resume(w: World, version: int, *others: str, author: str = "rita", **fields: Any) -> SignedCommand:
    """Rita lifts the suspensions of a version, having seen everything that there is, and otto (or others) with her."""
    found = w.state().versions.get(version)
    seen: dict[str, Any] = {"seen": w.log[-1].sequence, "lifts": found.lifts if found else ("0" * 64,)}
    said = {"version": version} | seen | fields
    return w.together(w.command(Resume, author, **said), *(others or ("otto",)))


def resumed(w: World, version: int, command: SignedCommand | None = None, **how: Any) -> Stored[Fact]:
    """The lifting as a fact."""
    command = command or resume(w, version)
    return w.add(w.fact(Resumed, version, command_id(command), command=command), **how)
