"""The built-in classes, what policy says about time, and what the HSM of this bundle cannot do.

Cryptoperiods follow NIST SP 800-57 part 1 Rev 5 §5.3.6, table 1 (symmetric data-encryption, authentication and
key-wrapping keys: originator usage at most 2 years; private signature key: 1 to 3 years) and stay far below them, since a
rotation costs nobody a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field

from rekey_core.contracts import Model, Register
from rekey_core.encoding import canonical_json, sha256_hex
from rekey_core.errors import NotFoundError, PolicyError
from rekey_core.names import Algorithm, Release
from rekey_core.signatures import SCHEMES
from rekey_core.uses import USES, Use

_DAY_S: Final = 24 * 3600
MIN_DESTRUCTION_DELAY_S: Final = 7 * _DAY_S  # the floor of every class, as of AWS KMS (ScheduleKeyDeletion)
DEVELOPMENT_DESTRUCTION_DELAY_S: Final = 3  # only where the trust document says development


Outcome = Literal["wait", "waive", "force"]  # each allows what stands before it
_OUTCOMES: Final[tuple[Outcome, ...]] = ("wait", "waive", "force")


class KeyClass(Model):
    """How the keys of a class are protected and how often they change. Times in seconds."""

    name: str
    algorithm: Algorithm
    release: Release
    cryptoperiod_s: int  # originator usage: at most this long current
    rotation_deadline_s: int  # until when every live instance should hold a new version
    deadline_outcome: Outcome  # the most that people may do about it once the deadline has passed
    lease_s: int  # what a cut-off instance can still do
    destruction_delay_s: Annotated[int, Field(ge=MIN_DESTRUCTION_DELAY_S)]  # in which it can be cancelled
    backup: Literal["required", "none"]  # required: not activated before it is backed up (SP 800-57 §8.2.2.1)


_HOUR_S: Final = 3600
# How long a cut-off instance goes on, and how long a rotation waits for one that died. Where many instances share a key so
# that a quick path was built for it, each of them asks half as often for that.
_LEASE_S: Final[Mapping[Release, int]] = MappingProxyType(
    {Release.NEVER: 30, Release.TRUSTED_RECIPIENT: 30, Release.TRANSPORT_KEY: 60}
)


def _class(
    name: str, algorithm: Algorithm, release: Release, days: int, outcome: Outcome = "waive"
) -> KeyClass:
    """Private signature keys have no backup: a new one does as well, and what was signed stays verifiable."""
    return KeyClass(
        name=name,
        algorithm=algorithm,
        release=release,
        cryptoperiod_s=days * _DAY_S,
        rotation_deadline_s=_HOUR_S,
        deadline_outcome=outcome,
        lease_s=_LEASE_S[release],
        destruction_delay_s=30 * _DAY_S,
        backup="none" if algorithm in SCHEMES else "required",
    )


# Whoever is forced past reads older data and refuses newer data until it has caught up. Where that is good tokens,
# or what others have signed since, an owner has to know whom it is about.
CLASSES: Final[tuple[KeyClass, ...]] = (
    _class("application-data", Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 90, "force"),
    _class("message-auth", Algorithm.HMAC_SHA_256, Release.TRUSTED_RECIPIENT, 90, "force"),
    _class("application-data-high-volume", Algorithm.AES_256_GCM, Release.TRANSPORT_KEY, 90, "force"),
    _class("message-auth-high-volume", Algorithm.HMAC_SHA_256, Release.TRANSPORT_KEY, 90, "force"),
    _class("data-key-wrapping", Algorithm.AES_256_GCM, Release.NEVER, 30),
    _class("message-auth-hsm", Algorithm.HMAC_SHA_256, Release.NEVER, 90),
    _class("token-signing", Algorithm.EC_P256, Release.NEVER, 30),
    _class("token-signing-es384", Algorithm.EC_P384, Release.NEVER, 30),
    _class("token-signing-ps256", Algorithm.RSA_3072, Release.NEVER, 30),
    _class("token-signing-eddsa", Algorithm.ED25519, Release.NEVER, 30),
)

# What no profile of an HSM that this bundle is for can do; rekey_hsm.profile declares the same (a test compares).
HSM_PROFILE: Final = "softhsm-2.6"
UNSUPPORTED: Final[Mapping[Algorithm, str]] = MappingProxyType(
    {Algorithm.ED25519: f"HSM profile {HSM_PROFILE} cannot wrap Ed25519 private keys"}
)

POLICY_DIGEST: Final = sha256_hex(canonical_json([c.model_dump(mode="json") for c in CLASSES]))
KNOWN_POLICIES: Final = frozenset({POLICY_DIGEST})  # an older bundle stays here, or its facts would be void


def is_known_policy(digest: str) -> bool:
    """Whether a fact was decided under a policy bundle that this program knows."""
    return digest in KNOWN_POLICIES


def class_named(name: str) -> KeyClass:
    """The class. Raises NotFoundError that names the known ones."""
    found = next((c for c in CLASSES if c.name == name), None)
    if found is None:
        message = f"class {name!r} does not exist; classes: {', '.join(c.name for c in CLASSES)}"
        raise NotFoundError(message)
    return found


def needs_backup(class_name: str) -> bool:
    """Whether a version of the class must be backed up before it is activated. Raises NotFoundError as ``class_named``."""
    return class_named(class_name).backup == "required"


def _use_of(key_class: KeyClass) -> Use:
    return USES[key_class.algorithm, key_class.release]


def check_registration(command: Register) -> int:
    """The cryptoperiod (seconds) that the key gets.

    Raises:
        NotFoundError: no such class.
        PolicyError: the HSM cannot have keys of this class, or a longer cryptoperiod than the class allows.
    """
    key_class = class_named(command.key_class)
    if key_class.algorithm in UNSUPPORTED:
        message = f"key {command.key}: class {key_class.name}: {UNSUPPORTED[key_class.algorithm]}"
        same_use = (c for c in CLASSES if _use_of(c) == _use_of(key_class))
        usable = ", ".join(c.name for c in same_use if c.algorithm not in UNSUPPORTED)
        raise PolicyError(message, hint=f"register it with another class: {usable}")
    if command.cryptoperiod_s is not None and command.cryptoperiod_s > key_class.cryptoperiod_s:
        message = (
            f"key {command.key}: class {key_class.name} allows a cryptoperiod of at most {key_class.cryptoperiod_s} s, "
            f"found {command.cryptoperiod_s} s"
        )
        raise PolicyError(message)
    return command.cryptoperiod_s or key_class.cryptoperiod_s


def destruction_delay_s(class_name: str, asked_s: int | None, *, development: bool) -> int:
    """How long (seconds) the destruction of a version can be cancelled.

    Args:
        class_name: the key's class, whose delay is the least.
        asked_s: what the command asks for; none: the least.
        development: what the trust document says about the environment: it has a least delay of its own.

    Raises:
        NotFoundError: no such class.
        PolicyError: a shorter delay than the least.
    """
    key_class = class_named(class_name)
    least = DEVELOPMENT_DESTRUCTION_DELAY_S if development else key_class.destruction_delay_s
    if asked_s is not None and asked_s < least:
        message = f"class {key_class.name}: a version is destroyed after {least} s at the earliest, found {asked_s} s"
        raise PolicyError(message, hint="leave the delay out, or ask for a longer one")
    return asked_s or least


def check_outcome(key_class: str, outcome: Outcome) -> None:
    """Return if people may do this about a deadline that passed.

    Raises:
        NotFoundError: no such class.
        PolicyError: the class allows less.
    """
    allowed = class_named(key_class).deadline_outcome
    if _OUTCOMES.index(outcome) > _OUTCOMES.index(allowed):
        message = f"class {key_class} allows {allowed} at a deadline, found {outcome}"
        raise PolicyError(message, hint="stop or restart the instances that are missing: rekey adoption KEY")


def deadline_s(key_class: str, asked: int | None) -> int:
    """How long (seconds) a rotation may take before somebody is said to be missing.

    Raises:
        NotFoundError: no such class.
        PolicyError: longer than the class allows was asked for.
    """
    longest = class_named(key_class).rotation_deadline_s
    if asked is not None and asked > longest:
        message = f"class {key_class} allows a deadline of at most {longest} s, found {asked} s"
        raise PolicyError(message)
    return asked or longest
