"""From what should be and what is to what to do: one pure decision, taken again from the start each time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rekey.beliefs import Believed, Lifts, Stopped


@dataclass(frozen=True)
class Plan:
    """What to do, in this order."""

    stop: Mapping[int, Stopped]  # newly stopped, held or not
    install: tuple[int, ...]  # newest first: the version in motion is what everybody waits for
    switch_to: int | None


def plan(
    believed: Believed | None,
    stops: Iterable[Stopped],
    *,
    held: Collection[int],
    current: int | None,
    stopped: Mapping[int, Stopped],
    lifts: Lifts,
    idle: bool = False,
) -> Plan:
    """Decide.

    Args:
        believed: the notice, if there is one that is not older than what was seen.
        stops: what the responders' commands of this moment say, each as it was told.
        held: versions installed.
        current: the newest version that was ever protected with here.
        stopped: what is stopped already; a stop is lifted by two people's command alone (``KeyState.lift``).
        lifts: the suspensions that two people lifted; told again they stop nothing.
        idle: nothing protects here now: ``current`` itself may come back.

    A version that a notice leaves out stays: only a responder's command, or the generator's word that it is destroyed, takes
    one away. ``current`` only rises.
    """
    noticed = believed.versions if believed else {}
    generated = believed.generated if believed else {}
    known = {*held, *noticed, *generated, *stopped, *([current] if current else [])}
    new = _by_version(stops, known, lifts)
    fresh = {version: stop for version, stop in new.items() if _is_news(stop, stopped.get(version))}
    out = {*stopped, *new}
    install = sorted((v for v in noticed if v not in held and v not in out), reverse=True)
    wanted = believed.current if believed else None
    newest = current or 0
    rises = wanted is not None and wanted not in out and (wanted > newest or (idle and wanted == newest))
    return Plan(fresh, tuple(install), wanted if rises else None)


def _by_version(stops: Iterable[Stopped], known: Collection[int], lifts: Lifts) -> dict[int, Stopped]:
    """What stops each version, by its own number: the worst of all that is not lifted of it.

    A stop of all (0) is one of each version that is known now, lifted of some and not of others; later versions it leaves
    alone.
    """
    by_version: dict[int, Stopped] = {}
    for told in dict.fromkeys(stops):  # whoever tells one of all a thousand times costs no more than once
        for number in (told.version,) if told.version else known:
            stop = replace(told, version=number)
            if not stop.is_lifted(lifts) and _is_news(stop, by_version.get(number)):
                by_version[number] = stop
    return by_version


def _is_news(stop: Stopped, before: Stopped | None) -> bool:
    return before is None or (stop.kind == "compromised" and before.kind != "compromised")
