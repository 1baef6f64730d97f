"""What can be wrong with a local stack, each with the next step.

LocalError
├── RunningError    another supervisor has the state directory
├── MissingError    something that has to be installed is not there
├── DamagedError    a file of the state directory is not what was written
├── NotReadyError   a process or the bus did not become ready in time
├── DriftError      the bus is not as it was founded
├── RefusedError    what was asked for is not allowed
└── StoryError      the story missed one of its goals
"""

from __future__ import annotations


class LocalError(Exception):
    """The root. ``hint`` names the next step."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RunningError(LocalError):
    """The state directory belongs to a supervisor that runs."""


class MissingError(LocalError):
    """A program or library is not installed."""


class DamagedError(LocalError):
    """A file of the state directory is not what was written there."""


class NotReadyError(LocalError):
    """A process did not say that it is ready in time."""


class DriftError(LocalError):
    """Streams, consumers or the first trust document differ from what was founded."""


class RefusedError(LocalError):
    """What was asked for is not allowed; nothing was changed."""


class StoryError(LocalError):
    """A goal of the story was missed."""
