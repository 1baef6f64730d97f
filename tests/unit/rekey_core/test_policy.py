"""Two classes, and what a registration may ask of them."""

from __future__ import annotations

from typing import Any

import pytest

from rekey_core.contracts import Register
from rekey_core.errors import NotFoundError, PolicyError
from rekey_core.names import Algorithm, Release
from rekey_core.policy import (
    CLASSES,
    KNOWN_POLICIES,
    POLICY_DIGEST,
    check_registration,
    class_named,
    is_known_policy,
)
from tests.unit.world import World

WORLD = World()
DAY_S = 24 * 3600
YEAR_S = 365 * DAY_S


def register(**fields: Any) -> Register:
    body: dict[str, Any] = {
        "key_class": "application-data",
        "purpose": "orders at rest",
        "dependents": ("orders",),
    } | fields
    return Register.model_validate(WORLD.command(Register, "alice", **body))


@pytest.mark.parametrize(
    ("name", "algorithm", "release", "days"),
    [
        ("application-data", Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 90),
        ("token-signing", Algorithm.EC_P256, Release.NEVER, 30),
    ],
)
def test_a_class_says_what_its_keys_are(name: str, algorithm: Algorithm, release: Release, days: int) -> None:
    found = class_named(name)
    assert (found.algorithm, found.release, found.cryptoperiod_s) == (algorithm, release, days * DAY_S)


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        NotFoundError, match="'secret' does not exist; classes: application-data, token-signing"
    ):
        class_named("secret")


def test_every_class_stays_below_the_longest_cryptoperiods_of_the_standard() -> None:
    """SP 800-57 part 1 Rev 5 §5.3.6, table 1: 2 years for symmetric data encryption, 1 to 3 for a signature key."""
    assert [c.name for c in CLASSES if c.cryptoperiod_s > YEAR_S] == []


def test_a_lease_is_over_long_before_a_rotation_is_late() -> None:
    assert [c.name for c in CLASSES if c.lease_s * 10 > c.rotation_deadline_s] == []


def test_names_of_classes_are_unique() -> None:
    assert len({c.name for c in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        pytest.param(None, 90 * DAY_S, id="nothing asked: the class's"),
        pytest.param(1, 1, id="the shortest"),
        pytest.param(90 * DAY_S, 90 * DAY_S, id="exactly the class's"),
    ],
)
def test_a_registration_gets_its_cryptoperiod(asked: int | None, given: int) -> None:
    assert check_registration(register(cryptoperiod_s=asked)) == given


def test_a_longer_cryptoperiod_is_refused() -> None:
    with pytest.raises(PolicyError, match=f"at most {90 * DAY_S} s, found {90 * DAY_S + 1} s"):
        check_registration(register(cryptoperiod_s=90 * DAY_S + 1))


def test_a_registration_in_an_unknown_class_is_refused() -> None:
    with pytest.raises(NotFoundError):
        check_registration(register(key_class="secret"))


def test_the_bundle_is_the_one_that_facts_in_logs_name() -> None:
    """A changed class is another bundle: keep the old digest in KNOWN_POLICIES, or facts decided under it are void."""
    assert POLICY_DIGEST == "225f33e57cd71a60aaddfb5bf61dfaf0ec6cb3d6848e1db2766f5c698a7c1b98"
    assert POLICY_DIGEST in KNOWN_POLICIES


def test_only_known_bundles_are_known() -> None:
    assert is_known_policy(POLICY_DIGEST)
    assert not is_known_policy("0" * 64)
