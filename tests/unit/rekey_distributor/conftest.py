"""A distributor with a registered key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_hsm import DistributorHsm, GeneratorHsm
from tests.fakes.scene import Scene
from tests.hsm_tokens import Tokens
from tests.unit.rekey_distributor.desk import Desk


@pytest.fixture
async def desk(
    tmp_path: Path, tokens: Tokens, generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> Desk:
    """orders-db, of a class whose versions are given to dependents."""
    scene = Scene(home=tmp_path, transport=tokens.spki_sha256)
    scene.registered()
    return await Desk.open(scene, tokens, generator_hsm, distributor_hsm)


@pytest.fixture
async def signing_desk(
    tmp_path: Path, tokens: Tokens, generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> Desk:
    """orders-db, of a class whose versions sign inside the HSM."""
    scene = Scene(home=tmp_path, transport=tokens.spki_sha256)
    scene.registered(release="never")
    return await Desk.open(scene, tokens, generator_hsm, distributor_hsm)
