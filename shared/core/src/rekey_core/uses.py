"""What each kind of key is for: one row for each pair of algorithm and release, the one table (DESIGN §5).

A pair without a row does not exist: no class may have it, no KEK is founded for it, no call is answered for it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rekey_core.errors import UsageRefusedError
from rekey_core.names import Algorithm, Release


class Operation(enum.StrEnum):
    """What a dependent may have done inside the HSM."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    MAC = "mac"
    VERIFY = "verify"
    SIGN = "sign"


class Surface(enum.StrEnum):
    """What the SDK gives out for a key: methods of its connection."""

    KEYRING = "keyring"
    MAC = "mac"
    SIGNER = "signer"
    ENVELOPE = "envelope"
    REMOTE_KEYRING = "remote_keyring"
    REMOTE_MAC = "remote_mac"


@dataclass(frozen=True)
class Use:
    """Surfaces of the SDK, and operations inside the HSM; a key that leaves has none of those."""

    surfaces: tuple[Surface, ...]
    operations: frozenset[Operation] = frozenset()


_SIGNS: Final = Use((Surface.SIGNER,), frozenset({Operation.SIGN}))

USES: Final[Mapping[tuple[Algorithm, Release], Use]] = MappingProxyType(
    {
        (Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT): Use((Surface.KEYRING,)),
        (Algorithm.HMAC_SHA_256, Release.TRUSTED_RECIPIENT): Use((Surface.MAC,)),
        (Algorithm.AES_256_GCM, Release.TRANSPORT_KEY): Use((Surface.KEYRING,)),
        (Algorithm.HMAC_SHA_256, Release.TRANSPORT_KEY): Use((Surface.MAC,)),
        (Algorithm.AES_256_GCM, Release.NEVER): Use(
            (Surface.ENVELOPE, Surface.REMOTE_KEYRING), frozenset({Operation.ENCRYPT, Operation.DECRYPT})
        ),
        (Algorithm.HMAC_SHA_256, Release.NEVER): Use(
            (Surface.REMOTE_MAC,), frozenset({Operation.MAC, Operation.VERIFY})
        ),
        (Algorithm.EC_P256, Release.NEVER): _SIGNS,
        (Algorithm.EC_P384, Release.NEVER): _SIGNS,
        (Algorithm.RSA_3072, Release.NEVER): _SIGNS,
        (Algorithm.ED25519, Release.NEVER): _SIGNS,
    }
)

PROTECTING: Final = frozenset({Operation.ENCRYPT, Operation.MAC, Operation.SIGN})  # the others process


def check_operation(key: str, algorithm: Algorithm, release: Release, operation: Operation) -> None:
    """Return if keys of this kind do the operation inside the HSM.

    Raises:
        UsageRefusedError: they do not; the hint names what they are used by.
    """
    use = USES.get((algorithm, release), Use(()))
    if operation not in use.operations:
        text = f"key {key} ({algorithm}, release {release}): {operation} inside the HSM is not what it is for"
        raise UsageRefusedError(text, hint=_instead(use.surfaces))


def check_surface(key: str, algorithm: Algorithm, release: Release, surface: Surface) -> None:
    """Return if the SDK gives out keys of this kind by that method.

    Raises:
        UsageRefusedError: it does not; the hint names the methods that do.
    """
    use = USES.get((algorithm, release), Use(()))
    if surface not in use.surfaces:
        text = f"key {key} is {algorithm} with release {release}, which {surface}() is not for"
        raise UsageRefusedError(text, hint=f"{_instead(use.surfaces)}, not {surface}()")


def _instead(surfaces: Iterable[Surface]) -> str:
    return f"use {' or '.join(f'{surface}()' for surface in surfaces) or 'another key'}"
