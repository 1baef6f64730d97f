"""One rotation on screen: the owner's command, each phase when it happens, every instance seen to switch."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rekey_core.contracts import KeySummary
from rekey_local.cast import OWNER, Cast, StoryKey
from rekey_local.commands import Reader
from rekey_local.errors import StoryError
from rekey_local.history import History
from rekey_local.stack import instance_names

ROTATION_S: Final = 60.0
_POLL_S: Final = 0.1


async def rotate(cast: Cast, key: StoryKey) -> str:
    """Rotate the key; returns when the new version alone is active and every instance reported that it protects with it.

    The line that is returned names each phase with its time.

    Raises:
        StoryError: not within the limit.
        RekeyError: audit did not answer.
    """
    async with cast.people.reading(OWNER) as reader:
        version = (await reader.history(key.name)).newest_version + 1
        wait = ("--wait", f"{ROTATION_S:.0f}")
        command = ("key", "rotate", key.name, "--reason", "the story goes on", *wait)
        async with asyncio.TaskGroup() as group:
            group.create_task(cast.people.ask(OWNER, *command))
            history = await _watch(cast, reader, key, version)
    cast.screen.title(f"{key.name} has rotated to version {version} in {history.rotation_s(version):.2f} s")
    phases = ", ".join(
        f"{phase.partition(':')[0]} {seconds * 1000:.0f} ms" for phase, seconds in history.phases(version)
    )
    return f"{key.name}@{version}: {phases}"


async def _watch(cast: Cast, reader: Reader, key: StoryKey, version: int) -> History:
    end = time.monotonic() + ROTATION_S
    said = 0
    while True:
        shown = await reader.show(key.name)  # first: the history then has everything that led there
        history = await reader.history(key.name)
        phases = history.phases(version)
        for phase, seconds in phases[said:]:
            cast.screen.say(f"  {key.name}@{version} {phase} ({seconds * 1000:.0f} ms)")
        said = len(phases)
        missing = _not_switched(cast, key, version)
        if has_rotated(shown, version) and not missing:
            return history
        if time.monotonic() > end:
            message = (
                f"{key.name}@{version} is not everywhere after {ROTATION_S:.0f} s: "
                f"{', '.join(phase for phase, _ in phases) or 'not made'}; not switched: {', '.join(missing)}"
            )
            raise StoryError(message)
        await asyncio.sleep(_POLL_S)


def has_rotated(shown: KeySummary, version: int) -> bool:
    """Whether the rotation to the version is over: no other one is active, be it deactivated or stopped before."""
    active = [one.version for one in shown.versions if one.state == "active"]
    return shown.current == version and active == [version]


def _not_switched(cast: Cast, key: StoryKey, version: int) -> list[str]:
    """Instances that have not switched, with what they protect with."""
    reports = cast.stack.tally.newest
    current = {name: reports[name].current.get(key.name) for name in instance_names() if name in reports}
    late = [name for name in instance_names() if (current.get(name) or 0) < version]
    return [f"{name} (at {current.get(name)})" for name in late]
