"""Labels say what a key is for, and nothing else does; each pair of release and algorithm is one row or none."""

from __future__ import annotations

import itertools

import pytest

from rekey_core.names import Algorithm, Release
from rekey_core.policy import HSM_PROFILE, UNSUPPORTED
from rekey_core.uses import USES
from rekey_hsm.halves import distributor_half, generator_half
from rekey_hsm.kinds import KINDS, kek_label, kind_for, kind_of, require_kek
from rekey_hsm.labels import record_mac_label, transport_label
from rekey_hsm.profile import PROFILES
from rekey_hsm.templates import DISTRIBUTOR_MAC, GENERATOR_KEK, GENERATOR_MAC

ENVIRONMENTS = (
    "dev",
    "x-transport-key-secret-2",
    "x-never-ec-1",
    "x-trusted-recipient-secret-2",
    "rec-mac-1",
    "never-aes-3",
)
PAIRS = [*itertools.product(Release, Algorithm)]
USABLE = {(release, algorithm) for algorithm, release in USES if algorithm not in UNSUPPORTED}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_label_is_of_one_kind_whatever_the_environment_is_called(env: str) -> None:
    for kind in KINDS:
        label = kek_label(env, kind.release, kind.algorithms[0], 7)
        assert kind_of(label) is kind
        assert generator_half(label) is GENERATOR_KEK
    mac = record_mac_label(env, 7)
    assert (kind_of(mac), kind_of(transport_label(env))) == (None, None)
    assert (generator_half(mac), distributor_half(mac)) == (GENERATOR_MAC, DISTRIBUTOR_MAC)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]} {pair[0]}")
def test_a_pair_has_a_kek_exactly_if_it_has_a_use_that_the_hsm_can_do(
    pair: tuple[Release, Algorithm],
) -> None:
    if pair in USABLE:
        assert pair[1] in kind_for(*pair).algorithms
        return
    with pytest.raises(ValueError, match="no class of keys"):
        kek_label("dev", *pair, 1)


def test_no_kek_is_for_keys_of_another_kind() -> None:
    for kind, algorithm in itertools.product(KINDS, Algorithm):
        label = kek_label("dev", kind.release, kind.algorithms[0], 1)
        if algorithm in kind.algorithms:
            require_kek(label, algorithm, kind.release)
            other = next(release for release in Release if release is not kind.release)
            with pytest.raises(ValueError, match="is not a kek for"):
                require_kek(label, algorithm, other)
            continue
        with pytest.raises(ValueError, match="is not a kek for"):
            require_kek(label, algorithm)


def test_policy_and_profile_name_the_same_limits() -> None:
    (profile,) = PROFILES
    assert (profile.name, profile.cannot_wrap) == (HSM_PROFILE, frozenset(UNSUPPORTED))
