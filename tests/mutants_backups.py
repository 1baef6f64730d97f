"""Mistakes in the keeping of backups; part of the list in ``tests/mutants.py``."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"

MUTANTS: Final = (
    Mutant(
        "backups: a version is activated that is not backed up",
        f"{CORE}/backups.py",
        "    if lacks_backup(version, key_class):",
        "    if lacks_backup(version, key_class) and version.generated is None:",
        (f"{UNIT}/test_backups.py",),
    ),
    Mutant(
        "backups: the scheduler does not wait for the backup",
        "services/rotation-scheduler/src/rekey_rotation_scheduler/planner.py",
        "        or lacks_backup(version, state.key_class)\n",
        "",
        ("tests/unit/rekey_rotation_scheduler/test_planner.py",),
    ),
    Mutant(
        "backups: what is not of the committed key counts as a backup",
        "shared/hsm/src/rekey_hsm/backup.py",
        "if not self._is_version(key, kind, context, commitment, spki):",
        "if self._is_version(key, kind, context, commitment, spki) is None:",
        ("tests/unit/rekey_hsm/test_backup.py",),
    ),
    Mutant(
        "backups: a destroyed version is restored from what lies in its place",
        "deploy/backup/src/rekey_backup/catalogue.py",
        "    if version.destroyed is not None:",
        "    if version.destroyed is not None and record is None:",
        ("tests/unit/rekey_backup/test_catalogue.py",),
    ),
    Mutant(
        "backups: one officer is enough for a drill",
        f"{CORE}/officers.py",
        "if len(officers) < trust.document.quorum:",
        "if not officers:",
        (f"{UNIT}/test_officers.py",),
    ),
)
