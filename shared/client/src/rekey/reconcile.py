"""From what should be and what is to what to do: one pure decision, taken again from the start each time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rekey.beliefs import Believed, Stopped


@dataclass(frozen=True)
class Plan:
    """What to do, in this order."""

    stop: Mapping[int, Stopped]  # newly stopped, held or not
    install: tuple[int, ...]  # newest first: the version in motion is what everybody waits for
    switch_to: int | None


def plan(
    believed: Believed | None,
    stops: Mapping[int, Stopped],
    *,
    held: Collection[int],
    current: int | None,
    stopped: Mapping[int, Stopped],
    idle: bool = False,
) -> Plan:
    """Decide.

    Args:
        believed: the notice, if there is one that is not older than what was seen.
        stops: what the responders' commands of this moment say, by version (0: all that exist).
        held: versions installed.
        current: the newest version that was ever protected with here.
        stopped: what is stopped already; a stop is lifted by two people's command alone (``KeyState.lift``).
        idle: nothing protects here now: ``current`` itself may come back.

    A version that a notice leaves out stays: only a responder's command, or the generator's word that it is destroyed, takes
    one away. ``current`` only rises.
    """
    noticed = believed.versions if believed else {}
    generated = believed.generated if believed else {}
    new = _expanded(stops, {*held, *noticed, *generated, *([current] if current else [])})
    fresh = {version: stop for version, stop in new.items() if _is_news(stop, stopped.get(version))}
    out = {*stopped, *new}
    install = sorted((v for v in noticed if v not in held and v not in out), reverse=True)
    wanted = believed.current if believed else None
    newest = current or 0
    rises = wanted is not None and wanted not in out and (wanted > newest or (idle and wanted == newest))
    return Plan(fresh, tuple(install), wanted if rises else None)


def _expanded(stops: Mapping[int, Stopped], known: Collection[int]) -> dict[int, Stopped]:
    """Each version by its own number; a stop of all stops what is known now and leaves later versions alone."""
    everything = stops.get(0)
    expanded = {version: everything for version in known} if everything else {}  # noqa: C420 - fromkeys would allow None
    return {**expanded, **{version: stop for version, stop in stops.items() if version != 0}}


def _is_news(stop: Stopped, before: Stopped | None) -> bool:
    return before is None or (stop.kind == "compromised" and before.kind != "compromised")
