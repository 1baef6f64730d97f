"""Mistakes in the keeping of backups; part of the list in ``tests/mutants.py``."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"
DESTRUCTION: Final = "tests/system/test_destruction.py"

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
    Mutant(
        "restores: what was destroyed comes back",
        f"{CORE}/restoring.py",
        "    if version.destroyed is not None:",
        "    if version.destroyed is not None and version.backed_up is None:",
        (f"{UNIT}/test_restoring.py",),
    ),
    Mutant(
        "restores: an order that has run out is carried out",
        f"{CORE}/restoring.py",
        "    check_order(order, at)",
        "    check_order(order, order.issued_at)",
        (f"{UNIT}/test_restoring.py",),
    ),
    Mutant(
        "restores: a version goes back to an older epoch",
        f"{CORE}/restoring.py",
        "    if epoch <= lies.epoch:",
        "    if epoch == lies.epoch:",
        (f"{UNIT}/test_restoring.py",),
    ),
    Mutant(
        "restores: a tombstone is written over",
        "services/generator/src/rekey_generator/restorations.py",
        "        if isinstance(record, Tombstone):\n",
        "        if isinstance(record, Tombstone) and record.version == 0:\n",
        ("tests/unit/rekey_generator/test_restorations.py",),
    ),
    Mutant(
        "restores: an order is used for another epoch than the officers named",
        "services/generator/src/rekey_generator/restorations.py",
        "        if order.epoch != offer.epoch:",
        "        if order.epoch < 0:",
        ("tests/unit/rekey_generator/test_restorations.py",),
    ),
    Mutant(
        "drills: a bundle without one of the keys counts",
        "services/audit/src/rekey_audit/attesting.py",
        "            check_count(found, states)",
        "            check_count(found, states) if found.checked < 0 else None",
        ("tests/unit/rekey_audit/test_attesting.py",),
    ),
    Mutant(
        "drills: a bundle of nothing counts, since nothing of it is missing",
        f"{CORE}/drilled.py",
        "    if not found.checked:",
        "    if found.checked < 0:",
        (f"{UNIT}/test_drilled.py",),
    ),
    Mutant(
        "drills: an attestation holds for as long as it says",
        f"{CORE}/drilled.py",
        "    if lifetime != ATTESTATION_LIFETIME:",
        "    if lifetime < ATTESTATION_LIFETIME:",
        (f"{UNIT}/test_drilled.py",),
    ),
    Mutant(
        "drills: one that failed counts",
        f"{CORE}/contracts/attestations.py",
        "return is_whole and not self.failures and not self.more_failures",
        "return is_whole",
        (f"{UNIT}/test_drilled.py",),
    ),
    Mutant(
        "drills: what audit recorded is believed without the officers",
        f"{CORE}/drilled.py",
        "        found = attested(record.signed, message.stored_at, trust)\n",
        "        found = DrillAttestation.model_validate_json(b64u_decode(record.signed.payload))\n",
        (f"{UNIT}/test_drilled.py",),
    ),
    Mutant(
        "backups: the drill leaves out what lies under a KEK that the token has no more",
        "deploy/backup/src/rekey_backup/drill.py",
        "                failed.append(named(item, error))",
        "                failed += [named(item, error)] if item.backup_epoch == 1 else []",
        (f"{DESTRUCTION}::test_every_backup_is_proved_and_a_restore_is_tried_by_a_quorum_alone",),
    ),
)
