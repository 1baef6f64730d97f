"""A KEK epoch begins and ends while both services work with their tokens; neither leaves, whatever is half done."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekey_ceremony import CeremonyPlan, perform
from rekey_ceremony.log import CompleteLog
from rekey_ceremony.retire import close, retire
from rekey_core.errors import NotFoundError, StateRefusedError, UnavailableError
from rekey_core.names import Algorithm
from rekey_hsm import DistributorHsm, GeneratorHsm
from tests.hsm_tokens import AES_KEK, ENV, KEKS, MAC_KEY, SECRET_KEK, ceremony_plan, found, token_settings
from tests.system.test_hsm_ceremony import go_as_far_as
from tests.unit.rekey_ceremony.test_retire import gone

AES = Algorithm.AES_256_GCM


def following(label: str) -> str:
    """The same key of the epoch after the first."""
    return f"{label.removesuffix('1')}2"


@dataclass(frozen=True)
class Working:
    """Both services, as they have been since before the new epoch."""

    plan: CeremonyPlan  # of the first epoch
    generator: GeneratorHsm
    distributor: DistributorHsm

    async def epoch(self) -> int:
        """What watchdogs do; then the epoch under which the generator would wrap."""
        await self.generator.prove()
        await self.distributor.prove()
        return await self.generator.newest_epoch(ENV)

    async def opened(self, label: str, blob: bytes) -> int:
        """Use of a key inside the distributor's token."""
        return len((await self.distributor.macs(label, blob, AES, [b""]))[0])


@pytest.fixture
async def working(hsm_directory: Path) -> AsyncIterator[Working]:
    plan = ceremony_plan(hsm_directory, "epochs-of")
    report = found(plan)
    generator = await GeneratorHsm.open(token_settings(plan.generator, report.generator.serial))
    distributor = await DistributorHsm.open(token_settings(plan.distributor, report.distributor.serial))
    yield Working(plan, generator, distributor)
    await generator.close()
    await distributor.close()


async def test_an_epoch_begins_and_the_one_before_it_ends(working: Working) -> None:
    generator, distributor, plan = working.generator, working.distributor, working.plan
    newer = dataclasses.replace(plan, epoch=2)
    old = (await generator.make_secret(AES_KEK, AES, b"c")).blob
    for label, last in (
        (SECRET_KEK, 2),
        (SECRET_KEK, 4),
        (MAC_KEY, 3),
    ):  # a ceremony dies, and is begun again
        go_as_far_as(newer, last, following(label))
        assert await working.epoch() == 1
    with pytest.raises(StateRefusedError, match="epoch 1 is the newest"):
        close(plan, "too early")
    perform(newer)
    assert await working.epoch() == 2
    new = (await generator.make_secret(following(AES_KEK), AES, b"c")).blob
    assert await working.opened(following(AES_KEK), new) == 16

    with pytest.raises(NotFoundError, match="never had a half of epoch 3"):
        close(dataclasses.replace(plan, epoch=3), "not there")
    assert len(close(plan, "", is_plan=True).destroyed) == len(KEKS)
    assert (await generator.make_secret(AES_KEK, AES, b"c")).blob, "a plan changes nothing"

    assert not await generator.is_closed(ENV, 1)
    closed = close(plan, "nothing is to come under it")
    assert [await generator.is_closed(ENV, epoch) for epoch in (1, 2)] == [True, False]
    assert closed.destroyed == tuple(f"generator's half of {label}" for label in KEKS)
    with pytest.raises(UnavailableError, match=f"{AES_KEK} is retired"):
        await generator.make_secret(AES_KEK, AES, b"c")
    assert await working.epoch() == 2
    assert await working.opened(AES_KEK, old) == 16, "what lies there is used until it is destroyed"
    await distributor.verify_record_mac(MAC_KEY, b"left", await generator.record_mac(MAC_KEY, b"left"))

    log = CompleteLog((gone().state(),), closed.challenge)
    ended = retire(plan, log, "nothing lies under it")
    assert (len(ended.destroyed), ended.left) == (1 + len(KEKS) + 1, ())
    assert await working.epoch() == 2
    with pytest.raises(UnavailableError, match=f"{MAC_KEY} is retired"):
        await distributor.verify_record_mac(MAC_KEY, b"", bytes(32))
    assert retire(plan, log, "again").destroyed == ()
    with pytest.raises(StateRefusedError, match=f"{SECRET_KEK} is retired"):
        perform(plan)
