"""What becomes of a rotation whose deadline has passed: it waits; people waive by name; two people force. Pure.

Whoever is not waited for is named in ``waived``, in ``activated`` or ``deactivated``, and is waited for again in the next
rotation. It catches up by itself: without proof of every version it gets no other lease.
"""

from __future__ import annotations

from datetime import datetime

from rekey_core.adoption import Adoption, waiting
from rekey_core.contracts import MAX_WAIVED, Force, SignedCommand, Waiting, Waive, Waived, Whom
from rekey_core.errors import StateRefusedError
from rekey_core.fold import KeyState
from rekey_core.next_fact import new_cause, next_fact
from rekey_core.policy import check_outcome
from rekey_core.waivers import named_by


def waived(
    state: KeyState, command: Waive | Force, signed: SignedCommand, adopted: Adoption | None, now: datetime
) -> Waived:
    """The ``waived`` of an owner's ``waive`` or of two people's ``force``; ``adopted`` is of the version waited for.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key.
        PolicyError: the class does not allow it.
        StateRefusedError: nobody is missing, or not the one who is named, or the deadline has not passed.
    """
    cause = new_cause(state, signed)
    check_outcome(state.key_class or "", "waive" if isinstance(command, Waive) else "force")
    found = waiting(state, adopted) if adopted is not None else None
    hint = f"rekey adoption {state.key}"
    if found is None or found.version != command.version:
        raise StateRefusedError(f"{state.key}@{command.version}: nobody is waited for", hint=hint)
    if now < found.deadline:
        text = f"{state.key}@{command.version}: the deadline is {found.deadline:%Y-%m-%d %H:%M:%SZ}"
        raise StateRefusedError(text, hint="until then everybody is waited for")
    whom = _named(command, found) if isinstance(command, Waive) else _all(found)
    return Waived(**next_fact(state, Waived, cause, command.version, now), whom=whom, command=signed)


def overdue(state: KeyState, adopted: Adoption, now: datetime) -> Waiting | None:
    """Whom the rotation waits for although its deadline has passed."""
    found = waiting(state, adopted)
    return found if found is not None and now >= found.deadline else None


def _named(command: Waive, found: Waiting) -> tuple[Whom, ...]:
    """Exactly whom the command names, if that is somebody who is missing: a name typed wrongly waives nobody."""
    name = f"{command.dependent}/{command.instance or ''}"
    if not any(missing.startswith(name) for missing in found.missing):
        text = f"{command.key}@{command.version}: {name.rstrip('/')} is not waited for; missing: {', '.join(found.missing)}"
        raise StateRefusedError(text, hint=f"rekey adoption {command.key}")
    return named_by(command)


def _all(found: Waiting) -> tuple[Whom, ...]:
    if len(found.missing) > MAX_WAIVED:
        text = f"{len(found.missing)} instances are missing, one command passes over {MAX_WAIVED} at most"
        raise StateRefusedError(text, hint="waive whole dependents first: rekey key waive --help")
    split = (missing.partition("/") for missing in found.missing)
    return tuple(Whom(dependent=dependent, instance=instance) for dependent, _, instance in split)
