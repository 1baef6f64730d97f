"""A dependent with 1,000 keys, with leases as long as their class says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.many_keys import many_keys
from tests.system.stack import RunningStack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("many-keys"), registered=False, instances=False) as running:
        yield running


@pytest.mark.matrix
async def test_a_process_with_1000_keys_works_and_follows_a_rotation_of_each(stack: RunningStack) -> None:
    await many_keys(stack, 1000, "application-data")
