"""What one dependent should know of one key: versions to hold, current, stopped, and the signed words that say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rekey_core.commands import command_id
from rekey_core.contracts import MAX_DESTROYED_NAMED, Notice, NoticedVersion, Signed, StoppedVersion
from rekey_core.fold import KeyState
from rekey_core.names import Release
from rekey_core.suspension import stops
from rekey_core.versions import VersionFacts
from rekey_distributor.emergencies import Emergencies


def notice_for(state: KeyState, dependent: str, emergencies: Emergencies, now: datetime) -> Notice:
    """The notice; the key must be registered and granted to the dependent."""
    if state.algorithm is None or state.release is None:
        message = f"{state.key} is not registered"
        raise ValueError(message)
    denied = emergencies.denied(state)
    held = tuple(version for version in state.versions_to_hold() if version not in denied)
    current = state.current if state.current not in denied else None
    return Notice(
        env=state.env,
        dependent=dependent,
        key=state.key,
        as_of=state.last_sequence,
        at=now,
        algorithm=state.algorithm,
        release=state.release,
        versions=tuple(_noticed(state.versions[version]) for version in held),
        current=current,
        stopped=stopped_of(state, emergencies),
        facts=tuple(_facts(state, held, current, denied)),
    )


def stopped_of(state: KeyState, emergencies: Emergencies) -> tuple[StoppedVersion, ...]:
    """Everything of the key that is stopped, by the log or by a command that the log does not have yet."""
    entries = (*stops(state.versions), *emergencies.open(state))
    return tuple({(entry.version, command_id(entry.command)): entry for entry in entries}.values())


def blobs_to_forget(state: KeyState, emergencies: Emergencies) -> tuple[str, ...]:
    """The digests of the blobs of versions that nobody may use any more: stopped ones and destroyed ones."""
    used = set(state.versions_to_hold()) - emergencies.denied(state)
    return tuple(
        lies.blob_digest
        for number, version in sorted(state.versions.items())
        if (lies := version.wrapped) and number not in used
    )


def same_content(one: Notice, other: Notice) -> bool:
    """Whether two notices say the same apart from when."""
    return one.model_copy(update={"at": other.at, "as_of": other.as_of}) == other


def _noticed(version: VersionFacts) -> NoticedVersion:
    if version.generated is None:
        message = f"version {version.number} is not generated"
        raise ValueError(message)
    return NoticedVersion.model_validate(
        {"version": version.number, "key_id": version.generated.model.key_id, "state": version.state.value}
    )


def _facts(
    state: KeyState, held: Iterable[int], current: int | None, denied: frozenset[int]
) -> Iterable[Signed]:
    for number in held:
        version = state.versions[number]
        in_motion = number in (current, state.in_motion())
        if version.generated and (in_motion or state.release is Release.NEVER):
            yield version.generated.signed
        if version.activated and number == current:
            yield version.activated.signed
        if version.resumed:  # to who has heard of the stop, nothing else says that it is over
            yield version.resumed.signed
    for number, version in sorted(state.versions.items()):  # so that who starts later can say why it refuses
        if version.generated and (version.stopped_by or number in denied):
            yield version.generated.signed
    yield from _destroyed(state)


def _destroyed(state: KeyState) -> Iterable[Signed]:
    """The generator's word that a version is gone, and by which id its data is known."""
    gone = [v for _, v in sorted(state.versions.items()) if v.generated and v.destroyed]
    for version in gone[-MAX_DESTROYED_NAMED:]:
        if version.generated and version.destroyed:
            if not version.stopped_by:
                yield version.generated.signed
            yield version.destroyed.signed
