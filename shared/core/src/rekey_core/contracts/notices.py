"""What should be, told to one dependent: cumulative, one message per key, never a history."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from rekey_core.contracts.base import Message, Model, Sequence, Signed, Time, Version, VersionOrKey
from rekey_core.contracts.commands import SignedCommand
from rekey_core.contracts.facts import TinkKeyId
from rekey_core.names import Algorithm, DependentName, Environment, KeyName, Release, Service

MAX_DESTROYED_NAMED: Final = 32  # by a notice (some 2 kB each of its 256) and by a receipt: the newest


class NoticedVersion(Model):
    """A version that the dependent should hold."""

    version: Version
    key_id: TinkKeyId
    state: Literal["pre-activation", "active", "deactivated"]


class StoppedVersion(Model):
    """A version (0: all of them) that must not be used, and the responder's command that says so."""

    version: VersionOrKey
    command: SignedCommand


class Notice(Message):
    """Distributor to dependent. ``facts`` are the signed ``generated`` and ``activated`` of the versions in motion.

    ``facts`` also has the ``generated`` of every stopped version, which says by which key id its data is known, and
    ``generated`` and ``destroyed`` of the newest destroyed ones: only the generator's word takes a version away for good.
    And the last ``resumed`` of every version to hold that two people lifted: nothing else takes a stop back.
    For asymmetric classes ``facts`` has the ``generated`` of every version in ``versions``: its SPKI is the public key.
    """

    TYPE: ClassVar[str] = "rekey.notice.v1"
    type: Literal["rekey.notice.v1"] = "rekey.notice.v1"
    env: Environment
    dependent: DependentName
    key: KeyName
    author: Literal[Service.DISTRIBUTOR] = Service.DISTRIBUTOR
    as_of: Sequence  # stream sequence of the last fact that it says
    at: Time
    algorithm: Algorithm
    release: Release
    versions: tuple[NoticedVersion, ...]
    current: Version | None
    stopped: tuple[StoppedVersion, ...]
    facts: tuple[Signed, ...]


class Stop(Message):
    """Revocation to dependent: everything of the key that is stopped, cumulative."""

    TYPE: ClassVar[str] = "rekey.stop.v1"
    type: Literal["rekey.stop.v1"] = "rekey.stop.v1"
    env: Environment
    dependent: DependentName
    key: KeyName
    author: Literal[Service.REVOCATION] = Service.REVOCATION
    at: Time
    stopped: tuple[StoppedVersion, ...]
