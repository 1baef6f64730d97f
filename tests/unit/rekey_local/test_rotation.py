"""When a rotation of the story is over, and which version the story may stop."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rekey_core.contracts import KeySummary
from rekey_local.errors import StoryError
from rekey_local.rotation import has_rotated
from rekey_local.stopping import previous

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def shown(current: int | None, **states: str) -> KeySummary:
    """A key with versions ``v1``, ``v2`` … in these states."""
    versions = [
        {"version": int(name[1:]), "state": state, "key_id": 0xABC, "since": NOW}
        for name, state in states.items()
    ]
    said: dict[str, object] = {
        "key": "orders-db",
        "owner": "alice",
        "key_class": "application-data",
        "algorithm": "AES-256-GCM",
        "release": "trusted-recipient",
        "purpose": "rows",
        "dependents": ["orders"],
        "current": current,
        "rotates_by": None,
        "versions": versions,
        "counts": {},
        "as_of": 9,
    }
    return KeySummary.model_validate(said)


@pytest.mark.parametrize(
    ("key", "is_over"),
    [
        pytest.param(shown(2, v1="deactivated", v2="active"), True, id="the old version is deactivated"),
        pytest.param(shown(2, v1="suspended", v2="active"), True, id="the old version was stopped before"),
        pytest.param(shown(2, v1="active", v2="active"), False, id="the old version protects still"),
        pytest.param(shown(1, v1="active", v2="pre-activation"), False, id="the new one is not activated"),
        pytest.param(shown(None, v1="suspended", v2="pre-activation"), False, id="nothing is current"),
        pytest.param(shown(None, v1="suspended", v2="suspended"), False, id="the new one is stopped too"),
    ],
)
def test_when_a_rotation_is_over(key: KeySummary, *, is_over: bool) -> None:
    assert has_rotated(key, 2) is is_over


def test_the_story_stops_the_version_before_the_current_one() -> None:
    assert previous(shown(3, v1="deactivated", v2="deactivated", v3="active")) == (2, "00000abc")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        pytest.param(shown(1, v1="active"), "orders-db@0 is not there", id="a key that never rotated"),
        pytest.param(
            shown(3, v1="deactivated", v2="suspended", v3="active"),
            "orders-db@2 is suspended",
            id="one that was stopped before: nobody has ciphertexts of older ones",
        ),
    ],
)
def test_what_it_cannot_stop_it_says_with_a_hint(key: KeySummary, words: str) -> None:
    with pytest.raises(StoryError, match=words) as caught:
        previous(key)
    assert caught.value.hint == "rekey key rotate orders-db deactivates the version that is current now"
