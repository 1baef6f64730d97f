"""Real servers for system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.bus import RunningBus, running_bus


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBus]:
    """One node, provisioned; dependents orders and billing, people alice and rita."""
    with running_bus(tmp_path_factory.mktemp("bus")) as bus:
        yield bus


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBus]:
    """Three nodes, three replicas: races hide on one node (DESIGN §9)."""
    with running_bus(tmp_path_factory.mktemp("cluster"), nodes=3) as bus:
        yield bus


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of the test's own."""
    return tmp_path
