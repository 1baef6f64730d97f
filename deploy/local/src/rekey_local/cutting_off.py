"""A lease on screen: an instance that is cut off from the bus works on until its lease ends, says why, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from rekey_local.cast import DATA, Cast
from rekey_local.child import ChildPlan, Line
from rekey_local.errors import StoryError
from rekey_local.layout import private_directory, write_private
from rekey_local.plan import HOST
from rekey_local.settings import SPANS_FILE, instance_settings
from rekey_local.stack import READY_S
from rekey_local.supervisor import Event, Keeper
from rekey_local.tether import Tether
from rekey_local.toml import Value, to_toml

LEASE_S: Final = 4  # it asks for no longer ones, so that one is seen to end
TRY_S: Final = 1.0  # a renewal has failed, and said why, before the lease ends
NAME: Final = "orders-3"
LIMIT_S: Final = 60.0
_DEPENDENT: Final = "orders"
_CALLER: Final = Path(__file__).parent / "app" / "caller.py"


class Guest:
    """One more instance, whose way to the bus is ours to cut."""

    def __init__(self, cast: Cast, tether: Tether) -> None:
        self._cast = cast
        self._tether = tether
        self._lease: Line = {}  # the newest line about it
        self._changed = asyncio.Event()
        command = (
            cast.stack.sdk_python,
            str(_CALLER),
            "--settings",
            str(self._settings()),
            "--key",
            DATA.name,
        )
        plan = ChildPlan(NAME, command, cast.stack.layout.logs / f"{NAME}.log")
        self.keeper = Keeper(plan, self._say, self._on_line)

    async def cut_off(self) -> None:
        """Cut it off until its lease has ended, mend, and wait until it works again; say what was seen.

        Raises:
            StoryError: it did not stop, or did not come back, within the limit.
        """
        await self.keeper.ready(READY_S)
        await self._until("work", held=True)
        before = self._cast.stack.tally.totals()
        began = time.monotonic()
        self._tether.cut()
        ended = await self._until("stop", held=False)
        worked_s = time.monotonic() - began
        await self._tether.mend()
        mended = time.monotonic()
        await self._until("come back", held=True)
        back_s = time.monotonic() - mended
        after = self._cast.stack.tally.totals()
        others = after.all_calls - before.all_calls
        screen = self._cast.screen
        screen.title(f"{NAME} was cut off from the bus")
        screen.say(f"  worked on for {worked_s:.1f} s, until its lease ended, and then refused:")
        screen.say(f"    {ended['text']}")
        screen.say(f"    hint: {ended['hint']}")
        screen.say(f"  works again {back_s * 1000:.0f} ms after the bus was there again, by itself")
        screen.say(f"  the other instances meanwhile: {others} calls, {after.failed - before.failed} failed")

    async def _until(self, what: str, *, held: bool) -> Line:
        try:
            async with asyncio.timeout(LIMIT_S):
                while self._lease.get("held") is not held:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            message = f"{NAME} did not {what} within {LIMIT_S:.0f} s"
            raise StoryError(message, hint=f"read {self.keeper.plan.log}") from None
        return self._lease

    def _settings(self) -> Path:
        """Those of its first sibling, with a way to the bus and a state directory of its own."""
        sibling = instance_settings(self._cast.stack.layout, _DEPENDENT, 1)
        values: dict[str, Value] = tomllib.loads(sibling.read_text())
        state = private_directory(sibling.parent / "state-3")
        values["bus_url"] = f"tls://{HOST}:{self._tether.port}"
        values["state_dir"] = state
        values["longest_lease_s"], values["try_s"] = LEASE_S, TRY_S
        values["trace_file"] = state / SPANS_FILE
        file = sibling.parent / "settings-3.toml"
        write_private(file, to_toml(values))
        return file

    def _on_line(self, name: str, line: Line) -> None:
        del name
        if line.get("event") == "lease":
            self._lease = line
            self._changed.set()

    def _say(self, name: str, event: Event, text: str) -> None:
        if event is not Event.READY:
            self._cast.screen.warn(f"{name} {text}")


@contextlib.asynccontextmanager
async def a_guest(cast: Cast) -> AsyncIterator[Guest]:
    """It starts now, and is stopped at the end."""
    tether = Tether(cast.stack.plan.bus_port)
    await tether.mend()
    guest = Guest(cast, tether)
    guest.keeper.start()
    try:
        yield guest
    finally:
        await guest.keeper.stop()
        await tether.close()
