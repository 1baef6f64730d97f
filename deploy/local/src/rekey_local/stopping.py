"""One suspension on screen: the responder's command, and when each instance stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from rekey_core.contracts import KeySummary
from rekey_local.cast import RESPONDER, Cast, StoryKey
from rekey_local.errors import StoryError
from rekey_local.stack import instance_names
from rekey_local.tally import InstanceReport, Seen

STOP_S: Final = 30.0
_POLL_S: Final = 0.05


async def stop_previous(cast: Cast, key: StoryKey) -> None:
    """Suspend the version before the current one; returns when every instance refuses its ciphertexts.

    Raises:
        StoryError: not every instance stopped within the limit, or the version is not there to be stopped.
        RekeyError: audit did not answer.
    """
    async with cast.people.reading(RESPONDER) as reader:
        version, key_id = previous(await reader.show(key.name))
    target = f"{key.name}@{version}"
    reason = "a copy of the disk was found"
    await cast.people.ask(RESPONDER, "suspend", target, "--reason", reason, "--yes")
    end = time.monotonic() + STOP_S
    while missing := _not_stopped(cast.stack.tally.newest, key.name, version, key_id):
        if time.monotonic() > end:
            message = f"{target} was not stopped within {STOP_S:.0f} s by {', '.join(missing)}"
            raise StoryError(message)
        await asyncio.sleep(_POLL_S)
    cast.screen.title(f"{RESPONDER} suspended {target}: every instance refuses it")
    for name in instance_names():
        report = cast.stack.tally.newest[name]
        stop = _stop(report, key.name, version)
        signed = stop.commanded if stop and stop.commanded else 0.0
        refused = report.first_refused[key_id] - signed
        stopped = stop.at - signed if stop else 0.0
        cast.screen.say(
            f"  {name:<10} stopped {stopped * 1000:.0f} ms after the command was signed, "
            f"refused its first old ciphertext after {refused * 1000:.0f} ms"
        )


def _not_stopped(reports: Mapping[str, InstanceReport], key: str, version: int, key_id: str) -> list[str]:
    return [
        name
        for name in instance_names()
        if _stop(reports[name], key, version) is None or key_id not in reports[name].first_refused
    ]


def _stop(report: InstanceReport, key: str, version: int) -> Seen | None:
    return next((seen for seen in report.stopped if (seen.key, seen.version) == (key, version)), None)


def previous(shown: KeySummary) -> tuple[int, str]:
    """The version before the current one, which only old data needs, and its key id as it stands in ciphertexts.

    Raises:
        StoryError: it is not deactivated, so that its suspension would show nothing.
    """
    number = (shown.current or 0) - 1
    found = next((one for one in shown.versions if one.version == number), None)
    if found is None or found.state != "deactivated":
        message = f"{shown.key}@{number} is {found.state if found else 'not there'}, expected deactivated"
        hint = f"rekey key rotate {shown.key} deactivates the version that is current now"
        raise StoryError(message, hint=hint)
    return number, f"{found.key_id or 0:08x}"  # Tink's prefix
