"""Until when backups count as proved, and when there must be an alarm: a fresh environment has time for its first drill."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from rekey_audit.drills import FAILED, OVERDUE, Drills, newer
from rekey_core.contracts import ATTESTATION_LIFETIME
from rekey_core.drilled import Drill
from tests.unit.orders import attestation
from tests.unit.world import NOW

SECOND: Final = timedelta(seconds=1)
LATER: Final = NOW + timedelta(days=1)


def drill(**changes: Any) -> Drill:
    return Drill(attestation(**changes), ("olga", "oliver"), 7)


PASSED: Final = Drills(drill())
WRONG: Final = Drills(drill(restored=2, failures=("orders-db@1: altered",)))
FRESH: Final = Drills(first_backup=NOW)


@pytest.mark.parametrize(
    ("drills", "now", "status", "alarm"),
    [
        pytest.param(Drills(), LATER, "never-drilled", None, id="nothing is backed up: nothing is due"),
        pytest.param(FRESH, LATER, "never-drilled", None, id="a fresh environment is quiet"),
        pytest.param(
            FRESH,
            NOW + ATTESTATION_LIFETIME,
            "overdue",
            OVERDUE,
            id="and is not 90 days after its first backup",
        ),
        pytest.param(
            PASSED, NOW + ATTESTATION_LIFETIME - SECOND, "proved", None, id="a drill holds for 90 days"
        ),
        pytest.param(PASSED, NOW + ATTESTATION_LIFETIME, "overdue", OVERDUE, id="and not for a second more"),
        pytest.param(WRONG, LATER, "failed", FAILED, id="a drill that failed is an alarm at once"),
        pytest.param(WRONG, NOW + ATTESTATION_LIFETIME, "failed", FAILED, id="and stays one"),
    ],
)
def test_how_the_environment_stands(drills: Drills, now: datetime, status: str, alarm: str | None) -> None:
    assert drills.status(now) == status
    complaint = drills.complaint(now)
    assert (complaint[0] if complaint else None) == alarm


def test_an_alarm_says_what_was_wrong_or_when_it_was_due() -> None:
    wrong, late, never = (d.complaint(NOW + ATTESTATION_LIFETIME) for d in (WRONG, PASSED, FRESH))
    assert wrong is not None
    assert "restored 2 of 3, 1 are wrong" in wrong[1]
    assert late is not None
    assert f"the last drill was at {NOW}; a drill was due by {NOW + ATTESTATION_LIFETIME}" in late[1]
    assert never is not None
    assert "no restore was ever tried" in never[1]


def test_the_later_drill_counts_whichever_is_recorded_first() -> None:
    early, late = drill(), drill(at=LATER, expires_at=LATER + ATTESTATION_LIFETIME, restored=2)
    assert newer(None, early) == early
    assert newer(early, late) == newer(late, early) == late
