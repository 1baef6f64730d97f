"""What a dependent may have and do at a state of the key: grant, state, emergencies. Pure, allow-lists only."""

from __future__ import annotations

from collections.abc import Collection

from rekey_core.confirmation import PROBE_PREFIX
from rekey_core.contracts import Generated
from rekey_core.envelope import Stored
from rekey_core.errors import (
    NotFoundError,
    NotGrantedError,
    RetryableError,
    StateRefusedError,
    UndecidableKeyError,
    UsageRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.names import Release
from rekey_core.quotas import is_counted

_RELEASED = frozenset({VersionState.PRE_ACTIVATION, VersionState.ACTIVE, VersionState.DEACTIVATED})


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
    if state.undecidable:
        message = f"{state.key}: {state.undecidable}"
        raise UndecidableKeyError(message)


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


def check_release(
    state: KeyState, dependent: str, version: int, denied: Collection[int]
) -> Stored[Generated]:
    """The dependent may receive this version. Raises as above, and UsageRefusedError for keys that never leave."""
    check_granted(state, dependent)
    generated = generated_of(state, version, denied)
    if generated.model.release is not Release.TRUSTED_RECIPIENT:
        message = f"{state.key}@{version} is of release {generated.model.release} and does not leave the HSM"
        raise UsageRefusedError(message, hint="use signer(), not keyring()")
    return generated


def check_sign(
    state: KeyState, dependent: str, version: int, message: bytes, denied: Collection[int]
) -> Stored[Generated]:
    """The dependent may have this message signed with this version inside the HSM."""
    generated = _in_hsm(state, dependent, version, denied)
    found = state.versions[version].state
    if found is not VersionState.ACTIVE:
        text = f"{state.key}@{version}: signing needs state active, found {found}"
        raise StateRefusedError(text, hint=f"rekey key show {state.key}")
    if message.startswith(PROBE_PREFIX):
        text = f"{state.key}@{version}: the message looks like a probe, which only the distributor makes"
        raise UsageRefusedError(text)
    return generated


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
        raise UsageRefusedError(message, hint="use keyring(), not signer()")
    return generated


def counted_version(state: KeyState, denied: Collection[int]) -> int | None:
    """The version that instances protect with under a quota of messages: the current one, where they are counted."""
    if not is_counted(state.algorithm, state.release) or state.current in denied:
        return None
    return state.current


def versions_to_prove(state: KeyState, denied: Collection[int]) -> tuple[int, ...]:
    """What an instance must have proved before it gets a lease."""
    return tuple(version for version in state.versions_to_hold() if version not in denied)
