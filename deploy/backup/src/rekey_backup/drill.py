"""A restore, tried out: fresh tokens, a ceremony, and every backup from its backup KEK to a KEK of theirs.

All of it happens in a sandbox, with a copy of the offline token: nothing is left on the real one, and the environment's
services notice nothing. In the sandbox the offline token gets the wrapping halves of a new epoch whose unwrapping halves
are on the fresh distributor's token; the fresh generator's token gets the epoch after that. So the two halves of one key
stay apart in a restored environment too: its generator opens nothing, and the offline token goes back into the safe.

No key is in clear at any time. What came out of the fresh token is proved there: the commitment of each version.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rekey_backup.catalogue import Kept
from rekey_backup.opening import Document, opened, version_of
from rekey_backup.restore import Moved, moved
from rekey_backup.verify import named
from rekey_ceremony import CeremonyPlan, TokenPlan, perform
from rekey_ceremony.softhsm import prepare
from rekey_core.confirmation import commitment_input, secret_commitment
from rekey_core.errors import RecordError, SignatureError, UsageRefusedError
from rekey_core.names import Release
from rekey_core.secret import Secret
from rekey_core.signatures import SCHEMES, public_key_of, verify_signature
from rekey_hsm import BackupHsm, DistributorHsm, TokenSettings, record_mac_label
from rekey_hsm.officer import enrol_transport_key

EPOCH: Final = 1_000_000  # of no environment: the copy may have halves of every epoch that there was

_TOKENS: Final = "tokens"  # of SoftHSM, below the directory of a token
_RECIPIENT: Final = "drill"
_TRANSPORT_BITS: Final = 3072


@dataclass(frozen=True)
class Offline:
    """The offline token as it lies in the safe, and its PINs."""

    module: Path
    directory: Path
    label: str
    serial: str
    user_pin: Secret
    so_pin: Secret


@dataclass(frozen=True)
class Drilled:
    """One line for each version that did not come out of the fresh tokens as it went in, and for each closed document."""

    failed: tuple[str, ...]
    closed: tuple[str, ...] = ()


async def drilled(
    offline: Offline, env: str, kept: Sequence[Kept], sandbox: Path, documents: Sequence[Document] = ()
) -> Drilled:
    """Restore into fresh tokens, then open old documents with what came out of them.

    Raises:
        UsageRefusedError: the sandbox is not empty.
        HsmError: a token or a ceremony fails.
    """
    fresh = _founded(offline, env, sandbox)
    os.environ["SOFTHSM2_CONF"] = str(prepare(sandbox))  # this process has loaded no module yet
    _trust_a_recipient(fresh)
    backup = await BackupHsm.open(fresh.backup)
    distributor = await DistributorHsm.open(fresh.distributor)
    failed: list[str] = []
    closed: list[str] = []
    try:
        for item in kept:
            try:
                await _restored(item, backup, distributor, fresh)
            except RecordError as error:
                failed.append(named(item, error))
        for document in documents:
            try:
                item = version_of(document, kept)
                out = await moved(item, backup, EPOCH)
                await opened(document, item, distributor, out.kek, out.blob)
            except RecordError as error:
                closed.append(str(error))
    finally:
        await backup.close()
        await distributor.close()
    if not failed:  # new versions can be made again, for the same distributor's token
        generator = _token_plan(sandbox, "drill-generator")
        perform(CeremonyPlan(env, EPOCH + 1, offline.module, generator, fresh.plan))
    return Drilled(tuple(failed), tuple(closed))


@dataclass(frozen=True)
class _Fresh:
    backup: TokenSettings
    plan: TokenPlan  # of the fresh distributor's token
    distributor: TokenSettings
    spki: bytes  # of a transport key whose private half nobody keeps

    @property
    def spki_sha256(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()


def _founded(offline: Offline, env: str, sandbox: Path) -> _Fresh:
    if sandbox.exists() and any(sandbox.iterdir()):
        message = f"{sandbox} is not empty"
        raise UsageRefusedError(message, hint="name a directory that does not exist")
    sandbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(offline.directory / _TOKENS, sandbox / _TOKENS)
    copy = TokenPlan(sandbox, offline.label, offline.user_pin, offline.so_pin)
    distributor = _token_plan(sandbox, "drill-distributor")
    restoring = perform(CeremonyPlan(env, EPOCH, offline.module, copy, distributor))
    transport = rsa.generate_private_key(public_exponent=65537, key_size=_TRANSPORT_BITS).public_key()
    return _Fresh(
        TokenSettings(offline.module, offline.label, offline.serial, offline.user_pin),
        distributor,
        TokenSettings(offline.module, distributor.label, restoring.distributor.serial, distributor.user_pin),
        transport.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _token_plan(sandbox: Path, label: str) -> TokenPlan:
    return TokenPlan(sandbox, label, *(Secret(secrets.token_hex(8).encode()) for _ in range(2)))


def _trust_a_recipient(fresh: _Fresh) -> None:
    """The distributor's token computes MACs under an exportable version only while it releases it."""
    enrol_transport_key(
        module=fresh.distributor.module,
        token_label=fresh.distributor.label,
        serial=fresh.distributor.serial,
        so_pin=fresh.plan.so_pin,
        dependent=_RECIPIENT,
        spki_der=fresh.spki,
    )


async def _restored(item: Kept, backup: BackupHsm, distributor: DistributorHsm, fresh: _Fresh) -> None:
    """One version: opened, proved, wrapped for the fresh token, sealed into a record, opened and proved there."""
    out = await moved(item, backup, EPOCH)
    await distributor.verify_record_mac(record_mac_label(item.made.env, EPOCH), out.record, out.mac)
    if not await _is_whole(item, distributor, fresh, out):
        message = f"{item.name}: what the fresh token opens is not the committed key"
        raise RecordError(message)


async def _is_whole(item: Kept, distributor: DistributorHsm, fresh: _Fresh, out: Moved) -> bool:
    kek, blob, made, inputs = out.kek, out.blob, item.made, (commitment_input(item.context),)
    if made.algorithm in SCHEMES:
        return await _signs(item, distributor, kek, blob)
    if made.release is Release.NEVER:
        (value,) = await distributor.macs(kek, blob, made.algorithm, inputs)
    else:
        under_transport_key = partial(distributor.release_under_transport_key, at=datetime.now(UTC))
        is_transport = made.release is Release.TRANSPORT_KEY
        released = await (under_transport_key if is_transport else distributor.release_secret)(
            kek,
            blob,
            recipient=_RECIPIENT,
            recipient_spki_sha256=fresh.spki_sha256,
            mac_inputs=inputs,
            algorithm=made.algorithm,
        )
        (value,) = released.macs
    return secret_commitment(item.context, value) == made.commitment


async def _signs(item: Kept, distributor: DistributorHsm, kek: str, blob: bytes) -> bool:
    message = secrets.token_bytes(32)
    signature = await distributor.sign(kek, blob, item.made.algorithm, message)
    try:
        public = public_key_of(item.made.algorithm, item.spki or b"")
        verify_signature(item.made.algorithm, public, message, signature)
    except SignatureError:
        return False
    return True
