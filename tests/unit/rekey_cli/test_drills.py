"""What a person sees of the backups: their status, a line of the doctor with its fix, and an exit code for scripts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rekey.cli.checkup import Level
from rekey.cli.drills import FIX, backup_line, backup_view, exit_code
from rekey.cli.errors import Exit
from rekey_core.contracts import ATTESTATION_LIFETIME, BackupAnswer, DrillSummary, UncoveredVersion
from tests.unit.world import NOW

UNTIL = NOW + ATTESTATION_LIFETIME
SINCE = UncoveredVersion(key="orders-db", version=4, why="not-drilled")


def drill(**changes: Any) -> DrillSummary:
    body: dict[str, Any] = {"at": NOW, "expires_at": UNTIL, "log": 99, "officers": ("olga", "oliver")}
    body |= {"backup_epochs": (1, 2), "checked": 3, "restored": 3, "failures": (), "more_failures": 0}
    return DrillSummary.model_validate(body | changes)


def answer(status: str, **changes: Any) -> BackupAnswer:
    body: dict[str, Any] = {"env": "dev", "person": "adam", "nonce": "0" * 32, "as_of": 120, "at": NOW}
    body |= {
        "status": status,
        "due": UNTIL,
        "drill": drill(),
        "covered": 3,
        "uncovered": (),
        "uncovered_in_all": 0,
    }
    return BackupAnswer.model_validate(body | changes)


FAILED = answer("failed", drill=drill(restored=2, failures=("orders-db@1: altered",), more_failures=2))
ROWS = [
    pytest.param(
        answer("proved"), Level.OK, "3 versions are proved until 2027-02-22", 0, id="a drill of now"
    ),
    pytest.param(
        answer("proved", at=UNTIL - timedelta(days=13)),
        Level.WARN,
        "proved until",
        0,
        id="one that runs out soon",
    ),
    pytest.param(answer("overdue"), Level.WARN, "one is due by 2027-02-22", 5, id="one that has run out"),
    pytest.param(FAILED, Level.FAIL, "restored 2 of 3", 5, id="one that failed"),
    pytest.param(
        answer("never-drilled", drill=None, due=None), Level.OK, "none yet", 0, id="nothing backed up"
    ),
    pytest.param(
        answer("never-drilled", drill=None),
        Level.OK,
        "no restore was tried yet, one is due",
        0,
        id="a fresh one",
    ),
    pytest.param(
        answer("overdue", drill=None), Level.WARN, "no restore was tried yet", 5, id="never in 90 days"
    ),
]


@pytest.mark.parametrize(("said", "level", "words", "code"), ROWS)
def test_the_doctors_line_and_the_exit_code(said: BackupAnswer, level: Level, words: str, code: int) -> None:
    line = backup_line(said)
    assert (line.level, line.fix) == (level, None if level is Level.OK else FIX)
    assert words in line.what
    assert exit_code(said) == code
    assert line.exit is Exit.PRECONDITION or level is not Level.FAIL


def test_the_table_says_until_when_by_whom_and_what_is_left_out() -> None:
    view = backup_view(answer("proved", uncovered=(SINCE,), uncovered_in_all=3))
    text = "\n".join(view.lines)
    for words in (
        "proved until",
        "2027-02-22",
        "olga, oliver",
        "3 of 3, from backup KEK epochs 1, 2",
        "up to 99: 3",
    ):
        assert words in text
    assert "3 versions, 1 shown" in text
    assert view.cells == (("orders-db", "4", "not-drilled"),)
    assert isinstance(view.data, dict)
    assert "nonce" not in view.data


def test_what_was_wrong_is_named_and_the_rest_counted() -> None:
    assert "orders-db@1: altered and 2 more" in "\n".join(backup_view(FAILED).lines)


def test_before_the_first_drill_the_table_says_when_it_is_due() -> None:
    text = "\n".join(backup_view(answer("never-drilled", drill=None)).lines)
    assert "first drill due" in text
    assert "last drill" not in text
