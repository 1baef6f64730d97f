"""Which keys a part of the log has moved, and what makes rows those of another program or log."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.contracts import KeySummary
from rekey_core.envelope import BusMessage
from rekey_core.names import Service
from rekey_rotation_scheduler.rows import KeyAdoption
from rekey_runtime.projector import made_by, moved
from rekey_runtime.settings import ServiceSettings
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
