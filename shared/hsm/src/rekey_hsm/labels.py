"""What objects on a token are called. Both tokens use the same name for the two halves of one key.

A label says the environment and the epoch, so that a process of one environment never finds another's key.
"""

from __future__ import annotations

import re
from typing import Final

from rekey_core.names import Algorithm, Release

SECRET: Final = "secret"  # noqa: S105  # a key type: GENERIC_SECRET of 64 bytes
EC: Final = "ec"  # EC private key
KEK_PREFIX: Final = "kek-"
MAC_PREFIX: Final = "rec-mac-"

_KEY_TYPE: Final = {Algorithm.AES_256_GCM: SECRET, Algorithm.EC_P256: EC}
_SECRET_KEK: Final = re.compile(rf"{KEK_PREFIX}.+-{Release.TRUSTED_RECIPIENT.value}-{SECRET}-\d+")
_EC_KEK: Final = re.compile(rf"{KEK_PREFIX}.+-{Release.NEVER.value}-{EC}-\d+")
_RELEASED: Final = {SECRET: Release.TRUSTED_RECIPIENT, EC: Release.NEVER}


def kek_label(env: str, release: Release, algorithm: Algorithm, epoch: int) -> str:
    """The KEK of an environment, release kind, key type and epoch.

    Raises:
        ValueError: no class of keys has this pair of release kind and algorithm (a misuse by our own code).
    """
    key_type = _KEY_TYPE[algorithm]
    if _RELEASED[key_type] is not release:
        message = f"no class of keys is {algorithm.value} with release {release.value}"
        raise ValueError(message)
    return f"{KEK_PREFIX}{env}-{release.value}-{key_type}-{epoch}"


def record_mac_label(env: str, epoch: int) -> str:
    """The record MAC key of an environment and epoch."""
    return f"{MAC_PREFIX}{env}-{epoch}"


def transport_label(dependent: str) -> str:
    """The transport key of a dependent, marked trusted by the security officer."""
    return f"transport-{dependent}"


def probe_label(label: str) -> str:
    """The wrapped throw-away key (or MAC) that proves the key of that label by use."""
    return f"probe-{label}"


def founded_label(label: str) -> str:
    """The mark on the generator's token that both halves of that label exist and were proved."""
    return f"founded-{label}"


def is_secret_kek(label: str) -> bool:
    """Whether the label names a KEK for 64-byte secrets."""
    return _SECRET_KEK.fullmatch(label) is not None


def is_ec_kek(label: str) -> bool:
    """Whether the label names a KEK for EC private keys."""
    return _EC_KEK.fullmatch(label) is not None


def require_kek(label: str, algorithm: Algorithm) -> None:
    """Make sure that a KEK is used for the keys that it is for.

    Raises:
        ValueError: it is not (a misuse by our own code; the token would refuse as well).
    """
    if not {SECRET: is_secret_kek, EC: is_ec_kek}[_KEY_TYPE[algorithm]](label):
        message = f"{label} is not a kek for {algorithm.value}"
        raise ValueError(message)
