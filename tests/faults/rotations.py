"""A rotation under way while something dies, and what must be true of it in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, TypeVar

from rekey_core.contracts import KeySummary
from rekey_core.errors import RekeyError
from rekey_core.policy import needs_backup
from rekey_local.errors import LocalError
from tests.faults.boundaries import PROCESSES
from tests.system.stack import INSTANCES, KEY_NAMES, RunningStack

SETTLE_S: Final = 60.0
PATIENCE: Final = "gave up after 10 s"  # what a remote call may say at worst
DATA: Final = KEY_NAMES[0]
AWAY: Final = (
    RekeyError,
    LocalError,
    OSError,
    TimeoutError,
)  # what a question raises while nobody can answer it
T = TypeVar("T")


def shown(stack: RunningStack, key: str) -> KeySummary | None:
    """The key as audit tells it; nothing while the bus or audit is down."""
    try:
        return stack.show(key)
    except AWAY:
        return None


def told(stack: RunningStack, question: Callable[[], T]) -> T:
    """What audit answers once it is there, and the bus."""
    answers: list[T] = []

    def is_answered() -> bool:
        with contextlib.suppress(*AWAY):
            answers.append(question())
        return bool(answers)

    stack.until(is_answered, SETTLE_S, "an answer of audit")
    return answers[0]


def now_at(stack: RunningStack, key: str) -> int:
    current = told(stack, lambda: stack.show(key)).current
    assert current is not None
    return current


def settled(stack: RunningStack, key: str, version: int) -> bool:
    """The version is current, and every older one is deactivated."""
    summary = shown(stack, key)
    if summary is None or summary.current != version:
        return False
    return all(v.state == "deactivated" for v in summary.versions if v.version != version)


def order(stack: RunningStack, key: str) -> None:
    """Ask for a rotation; an answer that got lost with the bus is no failure, the log tells."""
    with contextlib.suppress(RekeyError, TimeoutError):
        stack.order(key)


def check(stack: RunningStack, key: str, version: int) -> None:
    stack.until(
        lambda: settled(stack, key, version), SETTLE_S, f"the end of the rotation of {key} to {version}"
    )
    entries = told(stack, lambda: stack.history(key)).entries
    steps = [e.event for e in entries if e.version == version and e.event != "delivered"]
    kept = ["backed-up"] if needs_backup(told(stack, lambda: stack.show(key)).key_class) else []
    assert steps == ["rotation-requested", "generated", *kept, "activated"]
    ended = [e.event for e in entries if e.version == version - 1 and e.event == "deactivated"]
    assert len(ended) == 1
    assert [e.void for e in entries if e.void] == []
    for name in (*PROCESSES, *INSTANCES):
        stack.ready(name)
    failures = stack.tally.failures()
    assert stack.tally.totals().failed_local == 0, failures
    assert all(PATIENCE in said for said in failures.values()), failures
