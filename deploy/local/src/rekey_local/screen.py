"""What people see: steps with timings; a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.status import Status

PLAIN_PAUSE_S: Final = 5.0  # without a terminal the live line comes this often


class Screen:
    """Writes to stdout; every line begins with the seconds since the start."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._status: Status | None = None
        self._live_at = 0.0

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, text: str, style: str = "") -> None:
        """One line that stays."""
        self._console.print(f"[dim]{self.elapsed_s:6.1f} s[/]  {_styled(text, style)}")

    def title(self, text: str) -> None:
        """A new part."""
        self.say(text, "bold")

    def warn(self, text: str) -> None:
        """Something that went wrong and is being repaired."""
        self.say(text, "yellow")

    def fail(self, text: str, hint: str | None = None) -> None:
        """Something that is wrong."""
        self.say(f"error: {text}", "bold red")
        if hint:
            self.say(f"hint: {hint}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Do something and say how long it took."""
        started = time.monotonic()
        yield
        self.say(f"{text} ({time.monotonic() - started:.1f} s)")

    def live(self, text: str) -> None:
        """The present state: replaces the one before."""
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(escape(text))
                self._status.start()
            self._status.update(escape(text))
        elif time.monotonic() - self._live_at > PLAIN_PAUSE_S:
            self._live_at = time.monotonic()
            self.say(text)

    def close(self) -> None:
        """Take the live line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _styled(text: str, style: str) -> str:
    return f"[{style}]{escape(text)}[/]" if style else escape(text)
