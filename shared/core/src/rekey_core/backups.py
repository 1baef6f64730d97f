"""From "is generated" to "may be activated": what data will depend on is first wrapped for the offline token. Pure.

Whoever could activate a version that nobody can restore could lose data on purpose. The fold, which every reader shares,
lets ``activated`` come only after ``backed-up``, unless the key's class says that there are no backups.
"""

from __future__ import annotations

from rekey_core.contracts import BackedUp
from rekey_core.envelope import Stored
from rekey_core.errors import IllegalTransitionError, PolicyError
from rekey_core.persistent import replace
from rekey_core.policy import needs_backup
from rekey_core.versions import VersionFacts


def lacks_backup(version: VersionFacts, key_class: str | None) -> bool:
    """Whether the class wants a backup of the version and the log names none yet. Raises NotFoundError: no such class."""
    return needs_backup(key_class or "") and version.backed_up is None


def backed_up(version: VersionFacts, item: Stored[BackedUp], key_class: str | None) -> VersionFacts:
    """The version with a backup. A stop in between does not forbid it: what may be resumed must not be lost meanwhile.

    Raises:
        IllegalTransitionError: it is not generated, backed up already, or destroyed; or it is a backup of something else.
        PolicyError: the class says that there are no backups.
    """
    where = f"{item.model.key}@{version.number}"
    if version.generated is None or version.backed_up is not None or version.destroyed is not None:
        raise IllegalTransitionError(f"{where} is {version.state} and cannot be backed up (again)")
    if not needs_backup(key_class or ""):
        raise PolicyError(f"{where}: class {key_class} says that there are no backups")
    expected = str(version.generated.model.id)
    if item.model.cause != expected:
        raise IllegalTransitionError(f"{where}: expected cause {expected}, found {item.model.cause}")
    return replace(version, backed_up=item)


def check_activatable(version: VersionFacts, key: str, key_class: str | None) -> None:
    """Return if data may come to depend on the version.

    Raises:
        IllegalTransitionError: it is not generated, not backed up, or shall be destroyed.
    """
    where = f"{key}@{version.number}"
    if version.generated is None:
        raise IllegalTransitionError(f"{where} is not generated and cannot be activated")
    if lacks_backup(version, key_class):
        raise IllegalTransitionError(f"{where} is not backed up and cannot be activated")
    if version.destruction is not None:
        raise IllegalTransitionError(f"{where}: its destruction is scheduled")
