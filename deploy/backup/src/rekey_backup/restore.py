"""The offline half of a restore: every backup from its backup KEK to the KEK of a fresh epoch, inside the offline token.

A ceremony has given the token the wrapping halves of that epoch and the signing half of its record MAC; the other halves
are on the fresh distributor's token. What comes out is wrapped and proved, and may cross to the bus in a file. The same
version wrapped again is the same blob (RFC 5649 has no randomness), so a run that died is simply run again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rekey_backup.catalogue import Kept
from rekey_backup.lines import read_lines, write_lines
from rekey_backup.verify import backup_of, named
from rekey_core.confirmation import record_mac_input
from rekey_core.contracts import OfficersSigned, RestoreOffer
from rekey_core.encoding import b64u_encode, sha256_hex
from rekey_core.errors import RecordError
from rekey_hsm import BackupHsm, TokenSettings, kek_label, record_mac_label


@dataclass(frozen=True)
class Moved:
    """One version under another KEK, with what its record MAC is over and the MAC."""

    kek: str
    blob: bytes
    record: bytes
    mac: bytes


async def moved(item: Kept, backup: BackupHsm, epoch: int) -> Moved:
    """One version opened, proved to be the one that the log commits to, and wrapped for an epoch's other half.

    Raises:
        RecordError: the backup does not open, or is of another key.
        UnavailableError: the token has no wrapping half of that epoch.
    """
    made = item.made
    kek = kek_label(made.env, made.release, made.algorithm, epoch)
    blob = await backup.moved(
        backup_of(item), item.blob, item.context, made.commitment, spki=item.spki, kek=kek
    )
    if blob is None:
        raise AssertionError(item.name)
    context = dataclasses.replace(item.context, epoch=epoch)
    record = record_mac_input(context, made.key_id, sha256_hex(blob), made.commitment, made.cause)
    mac = await backup.record_mac(record_mac_label(made.env, epoch), record)
    return Moved(kek, blob, record, mac)


async def offers(
    token: TokenSettings, kept: Iterable[Kept], epoch: int, order: OfficersSigned
) -> tuple[list[RestoreOffer], list[str]]:
    """What the generator is to store, and one line for each version that does not come out of the token.

    Raises:
        HsmError: the token is not the one that was founded, or a wrong PIN.
        UnavailableError: no ceremony of that epoch has reached the token.
    """
    hsm = await BackupHsm.open(token)
    made: list[RestoreOffer] = []
    problems: list[str] = []
    try:
        for item in kept:
            try:
                made.append(_offer(item, await moved(item, hsm, epoch), epoch, order))
            except RecordError as error:
                problems.append(named(item, error))
    finally:
        await hsm.close()
    return made, problems


def _offer(item: Kept, out: Moved, epoch: int, order: OfficersSigned) -> RestoreOffer:
    return RestoreOffer(
        env=item.made.env,
        key=item.made.key,
        version=item.made.version,
        epoch=epoch,
        blob=b64u_encode(out.blob),
        mac=b64u_encode(out.mac),
        order=order,
    )


def write(path: Path, made: Sequence[RestoreOffer]) -> None:
    """Write the file that crosses to the bus, one offer per line; whole or not at all."""
    write_lines(path, made)


def read(path: Path) -> list[RestoreOffer]:
    """Read the file. Raises as ``read_lines``."""
    return read_lines(path, RestoreOffer, "an offer")
