"""The classes, and what a registration may ask of them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rekey_core.contracts import Register
from rekey_core.errors import NotFoundError, PolicyError
from rekey_core.names import Algorithm, Release
from rekey_core.policy import (
    CLASSES,
    DEVELOPMENT_DESTRUCTION_DELAY_S,
    KNOWN_POLICIES,
    MIN_DESTRUCTION_DELAY_S,
    POLICY_DIGEST,
    KeyClass,
    check_registration,
    class_named,
    destruction_delay_s,
    is_known_policy,
)
from rekey_core.uses import USES
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
        ("message-auth", Algorithm.HMAC_SHA_256, Release.TRUSTED_RECIPIENT, 90),
        ("application-data-high-volume", Algorithm.AES_256_GCM, Release.TRANSPORT_KEY, 90),
        ("message-auth-high-volume", Algorithm.HMAC_SHA_256, Release.TRANSPORT_KEY, 90),
        ("data-key-wrapping", Algorithm.AES_256_GCM, Release.NEVER, 30),
        ("message-auth-hsm", Algorithm.HMAC_SHA_256, Release.NEVER, 90),
        ("token-signing", Algorithm.EC_P256, Release.NEVER, 30),
        ("token-signing-es384", Algorithm.EC_P384, Release.NEVER, 30),
        ("token-signing-ps256", Algorithm.RSA_3072, Release.NEVER, 30),
        ("token-signing-eddsa", Algorithm.ED25519, Release.NEVER, 30),
    ],
)
def test_a_class_says_what_its_keys_are(name: str, algorithm: Algorithm, release: Release, days: int) -> None:
    found = class_named(name)
    assert (found.algorithm, found.release, found.cryptoperiod_s) == (algorithm, release, days * DAY_S)


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        NotFoundError, match="'secret' does not exist; classes: application-data, message-auth"
    ):
        class_named("secret")


def test_every_class_stays_below_the_longest_cryptoperiods_of_the_standard() -> None:
    """SP 800-57 part 1 Rev 5 §5.3.6, table 1: 2 years for symmetric data encryption, 1 to 3 for a signature key."""
    assert [c.name for c in CLASSES if c.cryptoperiod_s > YEAR_S] == []


def test_a_lease_is_over_long_before_a_rotation_is_late() -> None:
    assert [c.name for c in CLASSES if c.lease_s * 10 > c.rotation_deadline_s] == []


def test_leases_are_as_long_as_the_class_says() -> None:
    high_volume = {"application-data-high-volume", "message-auth-high-volume"}
    assert {c.name: c.lease_s for c in CLASSES} == {
        c.name: 60 if c.name in high_volume else 30 for c in CLASSES
    }


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


def test_a_class_that_the_hsm_cannot_have_is_refused_with_its_limit_and_what_to_take_instead() -> None:
    with pytest.raises(PolicyError, match="cannot wrap Ed25519 private keys") as caught:
        check_registration(register(key_class="token-signing-eddsa"))
    assert caught.value.hint is not None
    assert "token-signing, token-signing-es384, token-signing-ps256" in caught.value.hint


def test_every_class_has_a_use() -> None:
    assert [c.name for c in CLASSES if (c.algorithm, c.release) not in USES] == []


def test_a_registration_in_an_unknown_class_is_refused() -> None:
    with pytest.raises(NotFoundError):
        check_registration(register(key_class="secret"))


def test_no_class_can_have_a_shorter_delay_than_the_floor() -> None:
    fields = CLASSES[0].model_dump()
    KeyClass.model_validate(fields | {"destruction_delay_s": MIN_DESTRUCTION_DELAY_S})
    with pytest.raises(ValidationError):
        KeyClass.model_validate(fields | {"destruction_delay_s": MIN_DESTRUCTION_DELAY_S - 1})


@pytest.mark.parametrize(
    ("asked", "development", "given"),
    [
        pytest.param(None, False, 30 * DAY_S, id="nothing asked: the class's"),
        pytest.param(60 * DAY_S, False, 60 * DAY_S, id="longer"),
        pytest.param(None, True, DEVELOPMENT_DESTRUCTION_DELAY_S, id="nothing asked in development"),
        pytest.param(60, True, 60, id="longer in development"),
    ],
)
def test_a_destruction_gets_its_delay(asked: int | None, development: bool, given: int) -> None:  # noqa: FBT001
    assert destruction_delay_s("application-data", asked, development=development) == given


@pytest.mark.parametrize(
    ("asked", "development"),
    [
        pytest.param(30 * DAY_S - 1, False, id="than the class's"),
        pytest.param(DEVELOPMENT_DESTRUCTION_DELAY_S, False, id="as if it were development"),
        pytest.param(DEVELOPMENT_DESTRUCTION_DELAY_S - 1, True, id="than any in development"),
    ],
)
def test_a_shorter_delay_is_refused(asked: int, development: bool) -> None:  # noqa: FBT001
    with pytest.raises(PolicyError, match="at the earliest"):
        destruction_delay_s("application-data", asked, development=development)


def test_the_bundle_is_the_one_that_facts_in_logs_name() -> None:
    """A changed class is another bundle: keep the old digest in KNOWN_POLICIES, or facts decided under it are void."""
    assert POLICY_DIGEST == "5156fda01986e71aeb0416ba2929a913de642b0fe7dcad138a6854fd7b34ed12"
    assert POLICY_DIGEST in KNOWN_POLICIES


def test_only_known_bundles_are_known() -> None:
    assert is_known_policy(POLICY_DIGEST)
    assert not is_known_policy("0" * 64)
