"""One rotation on screen: the owner's command, each phase when it happens, every instance seen to switch."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rekey_local.cast import OWNER, Cast, StoryKey
from rekey_local.commands import Reader
from rekey_local.errors import StoryError
from rekey_local.history import History
from rekey_local.stack import instance_names
from rekey_local.tally import InstanceReport

ROTATION_S: Final = 60.0
_POLL_S: Final = 0.1


async def rotate(cast: Cast, key: StoryKey) -> None:
    """Rotate the key; returns when the old version is deactivated and every instance reported the new one.

    Raises:
        StoryError: not within the limit.
        RekeyError: audit did not answer.
    """
    async with cast.people.reading(OWNER) as reader:
        began = time.time()
        version = (await reader.history(key.name)).newest_version + 1
        wait = ("--wait", f"{ROTATION_S:.0f}")
        command = ("key", "rotate", key.name, "--reason", "the story goes on", *wait)
        async with asyncio.TaskGroup() as group:
            group.create_task(cast.people.ask(OWNER, *command))
            history = await _watch(cast, reader, key, version, began)
    cast.screen.title(f"{key.name} has rotated to version {version} in {history.rotation_s(version):.2f} s")


async def _watch(cast: Cast, reader: Reader, key: StoryKey, version: int, began: float) -> History:
    end = time.monotonic() + ROTATION_S
    said = 0
    while True:
        history = await reader.history(key.name)
        phases = history.phases(version)
        for phase, seconds in phases[said:]:
            cast.screen.say(f"  {key.name}@{version} {phase} ({seconds * 1000:.0f} ms)")
        said = len(phases)
        missing = _not_switched(cast, key, version, began)
        if history.has("deactivated", version - 1) and not missing:
            return history
        if time.monotonic() > end:
            message = (
                f"{key.name}@{version} is not everywhere after {ROTATION_S:.0f} s: "
                f"{', '.join(phase for phase, _ in phases) or 'not made'}; not switched: {', '.join(missing)}"
            )
            raise StoryError(message)
        await asyncio.sleep(_POLL_S)


def _not_switched(cast: Cast, key: StoryKey, version: int, began: float) -> list[str]:
    """Instances that have not switched, with what they protect with."""
    reports = cast.stack.tally.newest
    late = [name for name in instance_names() if not _switched(reports.get(name), key, version, began)]
    return [
        f"{name} (at {reports[name].current.get(key.name) if name in reports else None})" for name in late
    ]


def _switched(report: InstanceReport | None, key: StoryKey, version: int, began: float) -> bool:
    """The SDK told the application so; one that was restarted meanwhile may have begun with the new version."""
    if report is None:
        return False
    told = any((seen.key, seen.version) == (key.name, version) for seen in report.rotated)
    return told or (report.began > began and (report.current.get(key.name) or 0) >= version)
