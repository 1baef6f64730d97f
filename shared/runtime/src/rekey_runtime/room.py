"""How full the streams are that others than revocation must leave room in, looked at now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekey_core.authority import Stream
from rekey_core.errors import UnavailableError
from rekey_core.room import WATCHED

if TYPE_CHECKING:
    from rekey_runtime.bus import Bus


class Room:
    """The last look's shares; what was never looked at is unknown, and nothing is stored on it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._shares: dict[Stream, float] = {}

    async def look(self) -> None:
        """Ask the bus. Raises as ``Bus.info``, and goes on with what was seen before then."""
        for stream in WATCHED:
            self._shares[stream] = _share(await self._bus.info(f"STREAM.INFO.{stream}"), stream)

    def share(self, stream: Stream) -> float:
        """Of the stream's ``max_bytes`` that is used, 0 to 1.

        Raises:
            UnavailableError: nobody has looked yet.
        """
        if stream not in self._shares:
            message = f"it is not known yet how full {stream} is"
            raise UnavailableError(message)
        return self._shares[stream]


def _share(info: dict[str, object], stream: Stream) -> float:
    config, state = info.get("config"), info.get("state")
    if isinstance(config, dict) and isinstance(state, dict):
        most, used = config.get("max_bytes"), state.get("bytes")
        if isinstance(most, int) and isinstance(used, int) and most > 0:
            return used / most
    message = f"STREAM.INFO.{stream} says neither its size nor its limit"
    raise UnavailableError(message)
