"""Backups on real tokens: every kind of key goes through the offline token to a fresh pair, and nothing else opens one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from rekey_core.confirmation import (
    VersionContext,
    commitment_input,
    secret_commitment,
    spki_commitment,
)
from rekey_core.errors import RecordError, UnavailableError
from rekey_core.names import Algorithm, Release
from rekey_hsm import BackupHsm, GeneratorHsm, backup_label, kek_label
from rekey_hsm.kinds import KINDS
from tests.hsm_tokens import ENV, ceremony_plan, found, token_plan, token_settings

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
    """The generator, and the offline token that keeps what it makes."""

    generator: GeneratorHsm
    backup: BackupHsm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(hsm_directory: Path) -> AsyncIterator[Pair]:
    offline = token_plan(hsm_directory, "backup-kept")
    plan = replace(ceremony_plan(hsm_directory, "kept"), backup=offline)
    report = found(plan)
    assert report.backup is not None
    assert [key.label for key in report.keys][-len(KINDS) :] == [
        backup_label(ENV, kind.release, kind.algorithms[0], 1) for kind in KINDS
    ]
    generator = await GeneratorHsm.open(token_settings(plan.generator, report.generator.serial))
    backup = await BackupHsm.open(token_settings(offline, report.backup.serial))
    yield Pair(generator, backup)
    await generator.close()
    await backup.close()


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
