"""Which keys a part of the log has moved, what is written at once, and what makes rows those of another program or log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rekey_core.authority import Identity
from rekey_core.contracts import KeySummary
from rekey_core.envelope import BusMessage
from rekey_core.names import Service
from rekey_rotation_scheduler.rows import KeyAdoption
from rekey_runtime.database import Applied, Database, Row
from rekey_runtime.projector import GATHER_S, Projector, made_by, moved
from rekey_runtime.settings import ServiceSettings
from tests.fakes.scene import Scene
from tests.unit.world import NOW

FILES = ("tls_cert", "tls_key", "tls_ca", "signing_key", "state_dir")


def message(subject: str, sequence: int) -> BusMessage:
    return BusMessage("LIFECYCLE", subject, {}, b"", sequence, NOW)


MOVED = [
    pytest.param([], {}, id="nothing"),
    pytest.param(["evt.dev.a.1.generator.generated.x"], {"a": 1}, id="a fact moves its key"),
    pytest.param(["dlv.dev.a.1.x"], {}, id="a delivery moves no key"),
    pytest.param(
        ["evt.dev.a.0.x.y.z", "evt.dev.b.0.x.y.z", "evt.dev.a.1.x.y.z"],
        {"a": 3, "b": 2},
        id="the last counts",
    ),
    pytest.param(["evt.dev.A!.0.x.y.z", "evt.dev"], {}, id="a subject without a key moves none"),
]


@pytest.mark.parametrize(("subjects", "expected"), MOVED)
def test_facts_move_the_keys_that_their_subjects_name(subjects: list[str], expected: dict[str, int]) -> None:
    assert moved([message(s, n) for n, s in enumerate(subjects, start=1)]) == expected


def settings(**changes: object) -> ServiceSettings:
    values = {"env": "dev", "service": Service.AUDIT, "bus_url": "tls://h:1", "trust_genesis": "0" * 64}
    return ServiceSettings.model_validate(values | dict.fromkeys(FILES, Path("file")) | changes)


ANOTHER = [
    pytest.param(made_by(settings(env="prod"), KeySummary, 1), id="another environment"),
    pytest.param(made_by(settings(trust_genesis="1" * 64), KeySummary, 1), id="another founding"),
    pytest.param(made_by(settings(), KeyAdoption, 1), id="another form"),
    pytest.param(made_by(settings(), KeySummary, 2), id="another rule"),
]


@pytest.mark.parametrize("another", ANOTHER)
def test_rows_of_something_else_have_another_stamp(another: str) -> None:
    assert another != made_by(settings(), KeySummary, 1)


def test_the_same_rows_have_the_same_stamp_wherever_the_service_runs() -> None:
    moved_to = settings(bus_url="tls://other:2", state_dir=Path("elsewhere"))
    assert made_by(moved_to, KeySummary, 1) == made_by(settings(), KeySummary, 1)


class Rows(Database):
    """Rows in memory; up to where they went after each transaction."""

    def __init__(self) -> None:
        super().__init__(Path(), Identity.AUDIT, "a test")
        self.stored: list[int] = []

    async def applied(self) -> Applied:
        """Nothing yet."""
        return Applied()

    async def store(self, rows: Sequence[Row], *, after: int, applied: Applied) -> None:
        """One transaction."""
        del rows, after
        self.stored.append(applied.sequence)


async def test_what_comes_soon_after_the_first_news_goes_into_the_same_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, rows, now = Scene(home=tmp_path, transport="ab" * 32), Rows(), [0.0]

    async def row(key: str) -> Row:
        return Row(key, scene.log[-1].sequence, "")

    async def everything_ran() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    scene.registered()
    projector = Projector(await scene.bus(Service.AUDIT), rows, row)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    work = asyncio.create_task(projector.work())
    await everything_ran()
    first = scene.log[-1].sequence
    assert rows.stored == [first]
    for version in (1, 2):
        scene.requested(version)
        projector.wake()
        await everything_ran()
        assert rows.stored == [first]
    now[0] += GATHER_S
    await everything_ran()
    assert rows.stored == [first, scene.log[-1].sequence]
    work.cancel()
    await asyncio.wait([work])
