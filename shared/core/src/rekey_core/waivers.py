"""Whom a rotation does not wait for: facts that carry an owner's ``waive`` or two people's ``force``. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rekey_core.commands import read_command
from rekey_core.contracts import Count, Force, Registered, Waive, Waived, Whom
from rekey_core.embedded import commanded
from rekey_core.envelope import Stored
from rekey_core.errors import AuthorityError, IllegalTransitionError
from rekey_core.lifecycle import VersionState
from rekey_core.persistent import replace
from rekey_core.policy import check_outcome
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts


def waived(
    version: VersionFacts, item: Stored[Waived], trust: Trust, key: Stored[Registered] | None
) -> VersionFacts:
    """The version, if the command inside lets the rotation to it wait for these no longer.

    Raises:
        MalformedError, RefusedError: leaves as ``commanded``; AuthorityError for whom the command does not name.
        PolicyError: the class does not allow it.
        IllegalTransitionError: the version is in a state in which nobody waits for it.
    """
    fact = item.model
    kind: type[Waive | Force] = Force if read_command(fact.command).VERB == Force.VERB else Waive
    command = commanded(item, fact.command, kind, trust)
    where = f"waived of {fact.key}@{fact.version}"
    if key is None or command.author != key.model.owner:
        raise AuthorityError(f"{where}: {fact.key} does not belong to {command.author}")
    if command.version != fact.version:
        raise AuthorityError(f"{where}: the command says version {command.version}")
    if isinstance(command, Waive) and fact.whom != named_by(command):
        raise AuthorityError(f"{where}: the command names somebody else")
    if version.state not in (VersionState.PRE_ACTIVATION, VersionState.ACTIVE):
        raise IllegalTransitionError(f"{where}: it is {version.state} and nobody waits for it")
    check_outcome(key.model.key_class, "waive" if isinstance(command, Waive) else "force")
    return replace(version, waived=version.waived | frozenset(fact.whom))


def named_by(command: Waive) -> tuple[Whom, ...]:
    """Whom the command names."""
    return (Whom(dependent=command.dependent, instance=command.instance),)


def check_passed_over(counts: Iterable[Count], waived: Collection[Whom], *, where: str) -> None:
    """Return if everybody whom a step did not wait for is somebody whom ``waived`` facts of its version name.

    Raises:
        AuthorityError: somebody is not.
    """
    for count in counts:
        for instance in count.waived:
            if not is_waived(waived, count.dependent, instance):
                raise AuthorityError(f"{where}: nobody waived {count.dependent}/{instance}")


def is_waived(waived: Collection[Whom], dependent: str, instance: str) -> bool:
    """Whether the instance is named, by itself or by its dependent."""
    names = {(whom.dependent, whom.instance) for whom in waived}
    return not names.isdisjoint({(dependent, None), (dependent, instance)})
