"""Scenes for attacks on the HSM's programming interface."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.hsm_attacker import Scene, Wrapped, attacker, make_all
from tests.hsm_tokens import Tokens


@pytest.fixture(scope="session")
def wrapped(tokens: Tokens) -> Wrapped:
    return asyncio.run(make_all(tokens.generator))


@pytest.fixture
def as_distributor(tokens: Tokens, wrapped: Wrapped) -> Iterator[Scene]:
    with attacker(tokens.distributor, wrapped) as scene:
        yield scene


@pytest.fixture
def as_generator(tokens: Tokens, wrapped: Wrapped) -> Iterator[Scene]:
    with attacker(tokens.generator, wrapped) as scene:
        yield scene
