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
        StoryError: not every instance stopped within the limit, or there is no version to stop.
        RekeyError: audit did not answer.
    """
    async with cast.people.reading(RESPONDER) as reader:
        version, key_id = _previous(await reader.show(key.name))
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


def _previous(shown: KeySummary) -> tuple[int, str]:
    older = [version for version in shown.versions if version.state == "deactivated"]
    if not older:
        message = f"{shown.key} has no deactivated version to suspend"
        raise StoryError(message)
    newest = max(older, key=lambda version: version.version)
    return newest.version, f"{newest.key_id or 0:08x}"  # as it stands in ciphertexts (Tink's prefix)
