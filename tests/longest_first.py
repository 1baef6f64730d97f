"""Which files begin first: whoever begins with the longest does not wait for one of them at the end."""

from __future__ import annotations

from typing import Final

import pytest

LONGEST: Final = (  # by what `--durations=0` says of each file; those that wait most stand before those that work most
    "faults/test_kills.py",
    "faults/test_catching_up.py",
    "faults/test_replicas.py",
    "attacks/test_poison.py",
    "system/test_story.py",
    "system/test_story_restarts.py",
    "system/test_destruction.py",
    "system/test_sdk.py",
    "system/test_cli.py",
    "system/test_rotation.py",
    "system/test_hsm_ceremony.py",
    "attacks/test_secret_scan.py",
    "system/test_leases.py",
)

FOLDERS: Final = ("faults", "system", "attacks")  # start servers; all others fill up what is left at the end


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly: within a file, and among all others of its kind, the order stays a random one."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    file = "/".join(item.path.parts[-2:])
    if file in LONGEST:
        return LONGEST.index(file)
    return len(LONGEST) + (item.path.parent.name not in FOLDERS)
