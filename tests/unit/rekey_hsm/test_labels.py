"""Labels say what a key is for, and nothing else does."""

from __future__ import annotations

import pytest

from rekey_core.names import Algorithm, Release
from rekey_hsm.halves import distributor_half, generator_half
from rekey_hsm.labels import is_ec_kek, is_secret_kek, kek_label, record_mac_label, transport_label
from rekey_hsm.templates import DISTRIBUTOR_MAC, GENERATOR_KEK, GENERATOR_MAC

ENVIRONMENTS = ("dev", "x-never-ec-1", "x-trusted-recipient-secret-2", "rec-mac-1")


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_label_is_of_one_kind_whatever_the_environment_is_called(env: str) -> None:
    secret = kek_label(env, Release.TRUSTED_RECIPIENT, Algorithm.AES_256_GCM, 7)
    private = kek_label(env, Release.NEVER, Algorithm.EC_P256, 7)
    mac = record_mac_label(env, 7)
    kinds = [
        (is_secret_kek(label), is_ec_kek(label)) for label in (secret, private, mac, transport_label(env))
    ]
    assert kinds == [(True, False), (False, True), (False, False), (False, False)]
    assert generator_half(secret) is generator_half(private) is GENERATOR_KEK
    assert (generator_half(mac), distributor_half(mac)) == (GENERATOR_MAC, DISTRIBUTOR_MAC)


@pytest.mark.parametrize(
    ("release", "algorithm"),
    [
        pytest.param(Release.NEVER, Algorithm.AES_256_GCM, id="AES that never leaves"),
        pytest.param(Release.TRUSTED_RECIPIENT, Algorithm.EC_P256, id="a private key that leaves"),
    ],
)
def test_there_is_no_kek_for_a_class_that_does_not_exist(release: Release, algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="no class of keys"):
        kek_label("dev", release, algorithm, 1)
