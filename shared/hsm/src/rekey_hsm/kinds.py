"""The kinds of keys that lie under KEKs, one row each: what is made, what comes out of a blob, which algorithms it is for.

One KEK per row (DESIGN §5). Everything else that depends on the kind looks it up here; a new pair of release and key type
is a new row.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pkcs11.constants import Attribute, ObjectClass

from rekey_core.names import Algorithm, Release
from rekey_hsm.templates import (
    NEW_AES,
    NEW_PRIVATE,
    NEW_SECRET,
    UNWRAP_AES,
    UNWRAP_EC,
    UNWRAP_HIGH_VOLUME,
    UNWRAP_HMAC,
    UNWRAP_RSA,
    UNWRAP_SECRET,
    WRAPPED_AES_BYTES,
    WRAPPED_SECRET_BYTES,
    Template,
    unwrap_of_backup,
)

KEK_PREFIX: Final = "kek-"
BACKUP_PREFIX: Final = "bek-"


class Proof(enum.Enum):
    """How a key of a kind proves itself by use."""

    HMAC = "hmac"
    CMAC = "cmac"
    SIGNATURE = "signature"


@dataclass(frozen=True)
class Kind:
    """One KEK's keys. ``key_type`` is the last word of the KEK's label before the epoch."""

    release: Release
    key_type: str
    algorithms: tuple[Algorithm, ...]
    proof: Proof
    new: Template
    unwrap: Template
    wrapped_bytes: int | None = None  # length of a blob, where it is always the same

    @property
    def is_private(self) -> bool:
        """Whether it is of private keys."""
        return self.unwrap[Attribute.CLASS] is ObjectClass.PRIVATE_KEY


KINDS: Final = (
    Kind(
        Release.TRUSTED_RECIPIENT,
        "secret",
        (Algorithm.AES_256_GCM, Algorithm.HMAC_SHA_256),
        Proof.HMAC,
        NEW_SECRET,
        UNWRAP_SECRET,
        WRAPPED_SECRET_BYTES,
    ),
    Kind(
        Release.TRANSPORT_KEY,
        "secret",
        (Algorithm.AES_256_GCM, Algorithm.HMAC_SHA_256),
        Proof.HMAC,
        NEW_SECRET,
        UNWRAP_HIGH_VOLUME,
        WRAPPED_SECRET_BYTES,
    ),
    Kind(
        Release.NEVER,
        "ec",
        (Algorithm.EC_P256, Algorithm.EC_P384),
        Proof.SIGNATURE,
        NEW_PRIVATE,
        UNWRAP_EC,
    ),
    Kind(
        Release.NEVER,
        "aes",
        (Algorithm.AES_256_GCM,),
        Proof.CMAC,
        NEW_AES,
        UNWRAP_AES,
        WRAPPED_AES_BYTES,
    ),
    Kind(
        Release.NEVER,
        "hmac",
        (Algorithm.HMAC_SHA_256,),
        Proof.HMAC,
        NEW_SECRET,
        UNWRAP_HMAC,
        WRAPPED_SECRET_BYTES,
    ),
    Kind(Release.NEVER, "rsa", (Algorithm.RSA_3072,), Proof.SIGNATURE, NEW_PRIVATE, UNWRAP_RSA),
)

_BY_USE: Final[Mapping[tuple[Release, Algorithm], Kind]] = MappingProxyType(
    {(kind.release, algorithm): kind for kind in KINDS for algorithm in kind.algorithms}
)
_LABELS: Final = tuple(
    (re.compile(rf"{prefix}.+-{kind.release.value}-{kind.key_type}-\d+"), under)
    for kind in KINDS
    for prefix, under in (
        (KEK_PREFIX, kind),
        (BACKUP_PREFIX, dataclasses.replace(kind, unwrap=unwrap_of_backup(kind.unwrap))),
    )
)


def kind_for(release: Release, algorithm: Algorithm) -> Kind:
    """The kind of keys of this release and algorithm.

    Raises:
        ValueError: no class of keys has this pair (a misuse by our own code).
    """
    found = _BY_USE.get((release, algorithm))
    if found is None:
        message = f"no class of keys is {algorithm.value} with release {release.value}"
        raise ValueError(message)
    return found


def kek_label(env: str, release: Release, algorithm: Algorithm, epoch: int) -> str:
    """The KEK of an environment, release kind, key type and epoch. Raises ValueError as ``kind_for``."""
    kind = kind_for(release, algorithm)
    return f"{KEK_PREFIX}{env}-{release.value}-{kind.key_type}-{epoch}"


def backup_label(env: str, release: Release, algorithm: Algorithm, epoch: int) -> str:
    """The backup KEK for the same keys. Raises ValueError as ``kind_for``."""
    kind = kind_for(release, algorithm)
    return f"{BACKUP_PREFIX}{env}-{release.value}-{kind.key_type}-{epoch}"


def kind_of(label: str) -> Kind | None:
    """Which kind of keys lies under the KEK or backup KEK of that label; none for what is neither."""
    return next((kind for pattern, kind in _LABELS if pattern.fullmatch(label)), None)


def require_kek(label: str, algorithm: Algorithm, release: Release | None = None) -> Kind:
    """The kind of a KEK that is used for the keys that it is for.

    Raises:
        ValueError: it is for others (a misuse by our own code; the token would refuse as well).
    """
    kind = kind_of(label) if label.startswith(KEK_PREFIX) else None
    if kind is None or algorithm not in kind.algorithms or release not in (None, kind.release):
        message = f"{label} is not a kek for {algorithm.value}"
        raise ValueError(message)
    return kind


def require_backup(label: str, kind: Kind) -> Kind:
    """The kind as it comes out in the backup token, of a backup KEK that is for such keys.

    Raises:
        ValueError: it is for others (a misuse by our own code; no token would open what is wrapped wrongly).
    """
    found = kind_of(label) if label.startswith(BACKUP_PREFIX) else None
    if found is None or (found.release, found.key_type) != (kind.release, kind.key_type):
        message = f"{label} is not a backup kek for {kind.release.value} {kind.key_type} keys"
        raise ValueError(message)
    return found
