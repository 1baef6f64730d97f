"""Backups on real tokens: every kind of key goes through the offline token to a fresh pair, and nothing else opens one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from rekey_ceremony import CeremonyPlan
from rekey_core.confirmation import (
    VersionContext,
    commitment_input,
    secret_commitment,
    spki_commitment,
)
from rekey_core.errors import RecordError, UnavailableError
from rekey_core.names import Algorithm, Release
from rekey_hsm import BackupHsm, DistributorHsm, GeneratorHsm, backup_label, kek_label
from rekey_hsm.kinds import KINDS
from tests.hsm_tokens import ENV, MODULE, ceremony_plan, found, token_plan, token_settings

RESTORED = 2  # the epoch whose wrapping halves are on the offline token
CONTEXTS = [
    pytest.param(
        VersionContext(ENV, "orders", 1, algorithm, kind.release, 1), id=f"{kind.release}-{algorithm}"
    )
    for kind in KINDS
    for algorithm in kind.algorithms
    if algorithm is not Algorithm.RSA_3072  # takes seconds; EC is the same path
]


@dataclass(frozen=True)
class Pair:
    """Generator and distributor, the offline token that keeps what is made, and the token that a restore founds."""

    generator: GeneratorHsm
    distributor: DistributorHsm
    backup: BackupHsm
    fresh: DistributorHsm  # of a restored environment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(hsm_directory: Path) -> AsyncIterator[Pair]:
    offline = token_plan(hsm_directory, "backup-kept")
    plan = replace(ceremony_plan(hsm_directory, "kept"), backup=offline)
    report = found(plan)
    assert report.backup is not None
    assert [key.label for key in report.keys][-len(KINDS) :] == [
        backup_label(ENV, kind.release, kind.algorithms[0], 1) for kind in KINDS
    ]
    fresh = token_plan(hsm_directory, "dist-fresh")
    restoring = found(CeremonyPlan(ENV, RESTORED, MODULE, offline, fresh))  # the offline token wraps
    pair = Pair(
        await GeneratorHsm.open(token_settings(plan.generator, report.generator.serial)),
        await DistributorHsm.open(token_settings(plan.distributor, report.distributor.serial)),
        await BackupHsm.open(token_settings(offline, report.backup.serial)),
        await DistributorHsm.open(token_settings(fresh, restoring.distributor.serial)),
    )
    yield pair
    for hsm in (pair.generator, pair.distributor, pair.backup, pair.fresh):
        await hsm.close()


def labels(context: VersionContext, epoch: int = 1) -> tuple[str, str]:
    kind = context.env, context.release, context.algorithm
    return kek_label(*kind, 1), backup_label(*kind, epoch)


async def made(generator: GeneratorHsm, context: VersionContext) -> tuple[bytes, bytes, str, bytes | None]:
    """Its blob under the KEK, under the backup KEK, its commitment and its public key."""
    kek, backup = labels(context)
    if context.algorithm in {Algorithm.EC_P256, Algorithm.EC_P384}:
        keys = await generator.make_key_pair(kek, context.algorithm, backup=backup)
        assert keys.backup is not None
        return keys.blob, keys.backup, spki_commitment(keys.spki), keys.spki
    secret = await generator.make_secret(kek, context.algorithm, commitment_input(context), backup=backup)
    assert secret.backup is not None
    return secret.blob, secret.backup, secret_commitment(context, secret.commitment), None


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_lies_under_a_backup_kek_is_the_version_and_no_other(
    pair: Pair, context: VersionContext
) -> None:
    _, backup = labels(context)
    blob, second, commitment, spki = await made(pair.generator, context)
    _, _, other, other_spki = await made(pair.generator, context)
    await pair.backup.moved(backup, second, context, commitment, spki=spki)
    with pytest.raises(RecordError, match="not of the committed key"):
        await pair.backup.moved(backup, second, context, other, spki=other_spki)
    with pytest.raises(RecordError, match=f"does not open under {backup}"):
        await pair.backup.moved(backup, blob, context, commitment, spki=spki)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_backup_under_a_kek_that_the_token_has_not_is_named(pair: Pair) -> None:
    context = VersionContext(ENV, "orders", 1, Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 1)
    _, second, commitment, _ = await made(pair.generator, context)
    _, retired = labels(context, epoch=9)
    with pytest.raises(RecordError, match=f"has no key {retired}: it is retired"):
        await pair.backup.moved(retired, second, context, commitment)
    with pytest.raises(UnavailableError, match="has no key labelled"):
        await pair.generator.make_secret(labels(context)[0], context.algorithm, b"c", backup=retired)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_backup_kek_is_for_the_keys_of_its_kind(pair: Pair) -> None:
    data = VersionContext(ENV, "orders", 1, Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 1)
    never = replace(data, release=Release.NEVER)
    for wrong in (labels(never)[1], labels(data)[0]):
        with pytest.raises(ValueError, match="is not a backup kek for"):
            await pair.generator.make_secret(labels(data)[0], data.algorithm, b"c", backup=wrong)
    with pytest.raises(ValueError, match="is not a kek for"):
        await pair.generator.make_secret(labels(data)[1], data.algorithm, b"c")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_old_ciphertext_opens_in_a_fresh_token_and_a_moved_blob_nowhere_else(pair: Pair) -> None:
    context = VersionContext(ENV, "orders", 1, Algorithm.AES_256_GCM, Release.NEVER, 1)
    kek, backup = labels(context)
    blob, second, commitment, _ = await made(pair.generator, context)
    nonce, aad = bytes(12), b"row 7"
    sealed = await pair.distributor.encrypt(kek, blob, nonce, b"data", aad)
    restored = kek_label(ENV, context.release, context.algorithm, RESTORED)
    moved = await pair.backup.moved(backup, second, context, commitment, kek=restored)
    assert moved is not None
    assert await pair.fresh.decrypt(restored, moved, nonce, sealed, aad) == b"data"
    for label, wrong in ((restored, blob), (restored, second)):
        with pytest.raises(RecordError, match="does not open"):
            await pair.fresh.decrypt(label, wrong, nonce, sealed, aad)
    with pytest.raises(RecordError, match="does not open"):
        await pair.distributor.decrypt(kek, moved, nonce, sealed, aad)
