"""Open every backup in the offline token, hold it against the commitment in the log, and let it go again."""

from __future__ import annotations

from collections.abc import Iterable

from rekey_backup.catalogue import Kept
from rekey_core.errors import RecordError
from rekey_hsm import BackupHsm, TokenSettings, backup_label


async def verified(token: TokenSettings, kept: Iterable[Kept]) -> list[str]:
    """One line for each backup that is not what the log says.

    Raises:
        HsmError: the token is not the one that was founded, or a wrong PIN.
    """
    hsm = await BackupHsm.open(token)
    problems: list[str] = []
    try:
        for item in kept:
            try:
                await hsm.moved(
                    backup_of(item), item.blob, item.context, item.made.commitment, spki=item.spki
                )
            except RecordError as error:
                problems.append(named(item, error))
    finally:
        await hsm.close()
    return problems


def backup_of(item: Kept) -> str:
    """The label of its backup KEK."""
    made = item.made
    return backup_label(made.env, made.release, made.algorithm, item.backup_epoch)


def named(item: Kept, error: RecordError) -> str:
    """The line for a version."""
    text = str(error)
    return text if text.startswith(item.name) else f"{item.name}: {text}"
