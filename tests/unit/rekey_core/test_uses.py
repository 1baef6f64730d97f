"""What each kind of key is for: the hint of a refusal names what it is used by."""

from __future__ import annotations

import itertools

import pytest

from rekey_core.errors import UsageRefusedError
from rekey_core.names import Algorithm, Release
from rekey_core.uses import PROTECTING, USES, Operation, Surface, check_operation, check_surface

AES, HMAC, P256 = Algorithm.AES_256_GCM, Algorithm.HMAC_SHA_256, Algorithm.EC_P256
NEVER, RECIPIENT = Release.NEVER, Release.TRUSTED_RECIPIENT

WRONG = [  # kind, what was asked for, what the hint says
    ((AES, RECIPIENT), Surface.SIGNER, "use keyring(), not signer()"),
    ((AES, RECIPIENT), Surface.ENVELOPE, "use keyring(), not envelope()"),
    ((AES, NEVER), Surface.KEYRING, "use envelope() or remote_keyring(), not keyring()"),
    ((HMAC, RECIPIENT), Surface.KEYRING, "use mac(), not keyring()"),
    ((HMAC, RECIPIENT), Surface.REMOTE_MAC, "use mac(), not remote_mac()"),
    ((HMAC, NEVER), Surface.MAC, "use remote_mac(), not mac()"),
    ((AES, Release.TRANSPORT_KEY), Surface.REMOTE_KEYRING, "use keyring(), not remote_keyring()"),
    ((HMAC, Release.TRANSPORT_KEY), Surface.REMOTE_MAC, "use mac(), not remote_mac()"),
    ((P256, Release.TRANSPORT_KEY), Surface.SIGNER, "use another key, not signer()"),
    ((P256, NEVER), Surface.KEYRING, "use signer(), not keyring()"),
    ((P256, RECIPIENT), Surface.SIGNER, "use another key, not signer()"),
]


@pytest.mark.parametrize(("kind", "surface", "hint"), WRONG)
def test_the_wrong_surface_is_refused_with_the_right_one(
    kind: tuple[Algorithm, Release], surface: Surface, hint: str
) -> None:
    with pytest.raises(UsageRefusedError, match=f"key k is {kind[0]} with release {kind[1]}") as caught:
        check_surface("k", *kind, surface)
    assert caught.value.hint == hint


def test_every_other_surface_of_every_kind_is_refused() -> None:
    for kind, surface in itertools.product(USES, Surface):
        if surface in USES[kind].surfaces:
            check_surface("k", *kind, surface)
            continue
        with pytest.raises(UsageRefusedError):
            check_surface("k", *kind, surface)


@pytest.mark.parametrize("operation", Operation)
def test_what_leaves_the_hsm_is_not_used_inside_it_and_what_does_not_exist_does_nothing(
    operation: Operation,
) -> None:
    for kind in itertools.product(Algorithm, Release):
        if kind[1] is Release.NEVER and kind in USES:
            continue
        with pytest.raises(UsageRefusedError, match=f"{operation} inside the HSM"):
            check_operation("k", *kind, operation)


def test_each_operation_protects_or_processes() -> None:
    assert {Operation.ENCRYPT, Operation.MAC, Operation.SIGN} == PROTECTING
    for use in USES.values():
        assert not use.operations or use.operations & PROTECTING, "a key that never protects is of no use"
