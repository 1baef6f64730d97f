"""What a dependent may have and do at a state of the key: grant, state, emergencies. Pure, allow-lists only."""

from __future__ import annotations

from collections.abc import Collection

from rekey_core.confirmation import PROBE_PREFIX
from rekey_core.contracts import Generated, Quota
from rekey_core.envelope import Stored
from rekey_core.errors import (
    NotFoundError,
    NotGrantedError,
    NotInstalledError,
    RetryableError,
    StateRefusedError,
    UsageRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.names import Release
from rekey_core.next_fact import check_decidable
from rekey_core.quotas import LEAST, is_counted
from rekey_core.uses import PROTECTING, USES, Operation, check_operation
from rekey_core.versions import Wrapped

_RELEASED = frozenset({VersionState.PRE_ACTIVATION, VersionState.ACTIVE, VersionState.DEACTIVATED})
_PROTECTS = frozenset({VersionState.ACTIVE})
_PROCESSES = frozenset({VersionState.ACTIVE, VersionState.DEACTIVATED})


def check_granted(state: KeyState, dependent: str) -> None:
    """The dependent has this key.

    Raises:
        NotFoundError: no key of this name is registered.
        NotGrantedError: the key is not this dependent's.
        UndecidableKeyError: the log has a fact that this program does not know.
    """
    if state.registered is None:
        message = f"key {state.key} is not registered"
        raise NotFoundError(message, hint=f"rekey key register {state.key} --dependent {dependent}")
    if dependent not in state.grants:
        message = f"key {state.key} is not granted to {dependent}"
        raise NotGrantedError(message, hint=f"ask its owner {state.owner}")
    check_decidable(state)


def generated_of(state: KeyState, version: int, denied: Collection[int]) -> Stored[Generated]:
    """The version's ``generated``, if the version may be processed with at all.

    Raises:
        NotFoundError: there is no such version.
        StateRefusedError: it is suspended, compromised or destroyed, or a responder's command says so.
    """
    found = state.versions.get(version)
    if found is None or found.generated is None:
        message = f"{state.key}@{version} is not generated"
        raise NotFoundError(message, hint=f"rekey key show {state.key}")
    if version in denied:
        message = f"{state.key}@{version} is stopped by a responder's command"
        raise StateRefusedError(message, hint=f"rekey key history {state.key}")
    if found.state not in _RELEASED:
        message = f"{state.key}@{version} is {found.state}"
        raise StateRefusedError(message, hint=f"rekey key history {state.key}")
    return found.generated


def lies(state: KeyState, version: int) -> Wrapped:
    """Where a version lies that ``generated_of`` or one of the checks gave. Raises ValueError for another one."""
    found = state.versions[version].wrapped
    if found is None:
        message = f"{state.key}@{version} is not generated"
        raise ValueError(message)
    return found


def check_release(
    state: KeyState, dependent: str, version: int, denied: Collection[int]
) -> Stored[Generated]:
    """The dependent may receive this version. Raises as above, and UsageRefusedError for keys that never leave."""
    check_granted(state, dependent)
    generated = generated_of(state, version, denied)
    if generated.model.release is Release.NEVER:
        message = f"{state.key}@{version} is of release {generated.model.release} and does not leave the HSM"
        raise UsageRefusedError(message, hint=f"use {surfaces_of(generated.model)}")
    return generated


def check_use(
    state: KeyState, dependent: str, version: int, operation: Operation, denied: Collection[int]
) -> Stored[Generated]:
    """The dependent may have the operation done with this version inside the HSM.

    Raises as ``generated_of``, and:
        UsageRefusedError: the operation is not what the key is for.
        StateRefusedError: the version's state forbids it: only an active one protects.
    """
    generated = _in_hsm(state, dependent, version, denied)
    check_operation(state.key, generated.model.algorithm, generated.model.release, operation)
    allowed = _PROTECTS if operation in PROTECTING else _PROCESSES
    found = state.versions[version].state
    if found not in allowed:
        text = f"{state.key}@{version}: {operation} needs state {' or '.join(sorted(allowed))}, found {found}"
        raise StateRefusedError(text, hint=f"rekey key show {state.key}")
    return generated


def check_message(state: KeyState, version: int, message: bytes) -> None:
    """The message may be signed.

    Raises:
        UsageRefusedError: it looks like a probe.
    """
    if message.startswith(PROBE_PREFIX):
        text = f"{state.key}@{version}: the message looks like a probe, which only the distributor makes"
        raise UsageRefusedError(text)


def check_probe(
    state: KeyState, dependent: str, version: int, phase: str, denied: Collection[int]
) -> Stored[Generated]:
    """The dependent may have a probe of this version: in any living state, ``switched`` only once it is current."""
    generated = _in_hsm(state, dependent, version, denied)
    if phase == "switched" and state.current != version:
        text = f"{state.key}@{version} is not current (that is {state.current})"
        raise NotYetError(text)
    return generated


class NotYetError(RetryableError):
    """The log will allow it, but does not yet."""


def _in_hsm(state: KeyState, dependent: str, version: int, denied: Collection[int]) -> Stored[Generated]:
    check_granted(state, dependent)
    generated = generated_of(state, version, denied)
    if generated.model.release is not Release.NEVER:
        message = f"{state.key}@{version} is of release {generated.model.release}, not used inside the HSM"
        raise UsageRefusedError(message, hint=f"use {surfaces_of(generated.model)}")
    return generated


def counted_version(state: KeyState, denied: Collection[int]) -> int | None:
    """The version that instances protect with under a quota of messages: the current one, where they are counted."""
    if not is_counted(state.algorithm, state.release) or state.current in denied:
        return None
    return state.current


def total_of(state: KeyState, version: int, protects: int | None, wanted: Quota | None) -> int:
    """How many messages of the current version an instance should have in all: what it asks for, if it asks for this one.

    Who goes over within one lease (``check_protects``) and does not know yet to which version has as many as for any at
    first: it gets no other lease before it protects with that one, and with none it would wait for the end of this one.
    """
    if wanted is None:
        return 0
    if wanted.version == version:
        return wanted.messages
    return LEAST if _processes_since(state, protects) is not None else 0


def surfaces_of(generated: Generated) -> str:
    """What the SDK uses such a key by, for hints."""
    return " or ".join(f"{surface}()" for surface in USES[generated.algorithm, generated.release].surfaces)


def check_protects(state: KeyState, protects: int | None, seen: int) -> None:
    """An instance goes over from a deactivated version within one lease: one that nobody waited for ends so, if it cannot.

    ``seen``: the state of the key at which its lease before was decided. The first one after the deactivation it gets, and
    the first one after another version became current: with that come the messages that it may protect with it.

    Raises:
        NotInstalledError: it protects with a version that was deactivated before that.
    """
    left = _processes_since(state, protects)
    if left is None:
        return
    current = state.versions.get(state.current) if state.current is not None else None
    newer = current.activated.sequence if current is not None and current.activated is not None else 0
    if max(left, newer) > seen:
        return
    message = f"{state.key}@{protects} is deactivated, expected to protect with version {state.current}"
    raise NotInstalledError(message, hint="switch, write a receipt, ask again")


def may_be_proved_later(state: KeyState, version: int, protects: int | None, seen: int) -> bool:
    """Whether a lease may be renewed without proof of a version to hold: nobody depends on it yet, or not for long.

    ``seen``: the state of the key at which the lease before was decided. It was not active then, or suspended: a proof may
    be on its way.
    Not where the version that the instance protects with is deactivated: people passed it over, it gets one lease to go over
    within (``check_protects``), and that one must not be used up before it holds what to go over to.
    """
    wanted = state.versions[version]
    since = max((fact.sequence for fact in (wanted.activated, wanted.resumed) if fact is not None), default=0)
    is_passed_over = _processes_since(state, protects) is not None
    return wanted.activated is None or (since > seen and not is_passed_over)


def _processes_since(state: KeyState, protects: int | None) -> int | None:
    """Since which sequence the version that an instance protects with only processes; None: it does more, or is none."""
    found = state.versions.get(protects) if protects is not None else None
    return found.processes_since if found is not None else None


def versions_to_prove(state: KeyState, denied: Collection[int]) -> tuple[int, ...]:
    """What an instance must have proved before it gets its first lease."""
    return tuple(version for version in state.versions_to_hold() if version not in denied)
