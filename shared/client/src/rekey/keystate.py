"""One key as this instance has it: versions, the one that protects, what is stopped or gone. Changed by its worker alone.

Readers take ``view``, one immutable value that is replaced whole: a call sees the key before or after a change, never
between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey.beliefs import Gone, Lifts, Stopped
from rekey.errors import LeaseExpiredError, UnavailableError, UnknownKeyIdError
from rekey.lease import LeaseClock
from rekey.quota import Quota
from rekey.versions import AeadVersion, SecretVersion, Version
from rekey_core.ciphertext import prefix_of
from rekey_core.contracts import MAX_DESTROYED_NAMED, KeyReceipt
from rekey_core.names import Algorithm, Release


class Protecting(NamedTuple):
    """The current version as one call of encrypt needs it, looked up once: each look-up is a tenth of the cipher's time."""

    enter: Callable[[], None]
    leave: Callable[[], None]
    permit: Callable[[], None]
    prefix: bytes
    encrypt: Callable[[bytes, bytes, bytes], bytes]


@dataclass(frozen=True, slots=True)
class View:
    """What calls see. ``aeads``: the ciphers of ``by_id`` by what a ciphertext under them starts with."""

    current: Version | None = None
    by_id: Mapping[int | str, Version] = field(default_factory=dict)
    refused_ids: Mapping[int | str, Stopped | Gone] = field(default_factory=dict)
    refusal: Stopped | None = None  # why there is no current version, when a responder said so
    aeads: Mapping[bytes, AESGCM] = field(init=False)
    protecting: Protecting | None = field(init=False)  # ``current``, where it encrypts here

    def __post_init__(self) -> None:
        """Nobody can forget to take a cipher away: there is none that is not in ``by_id`` or ``current``."""
        held = [version for version in self.by_id.values() if isinstance(version, AeadVersion)]
        object.__setattr__(self, "aeads", {prefix_of(version.id): version.aead for version in held})
        object.__setattr__(self, "protecting", _protecting(self.current))


class KeyState:
    """The state of one key."""

    def __init__(self, name: str, as_of: int = 0) -> None:
        self.name = name
        self.lease = LeaseClock()
        self.next: int | None = (
            None  # the version that it is about to protect with, once there is a quota for it
        )
        self.algorithm: Algorithm | None = None
        self.release: Release | None = None
        self.as_of = as_of
        self.place = 0  # stream sequence of the newest notice
        self.held: dict[int, Version] = {}
        self.leaving: list[Version] = []  # stopped or destroyed, but a call may still be inside
        self.stopped: dict[int, Stopped] = {}
        self.lifted: dict[int, frozenset[str]] = {}  # the suspensions of each version that are no more
        self._spent: dict[
            int, Quota
        ] = {}  # of stopped versions: what was protected counts when they come back
        self.destroyed: dict[int, Gone] = {}
        self.newest = 0  # the newest version that was ever current here; it only rises
        self.protects: int | None = None  # what may be signed in a receipt: nobody is inside an older one
        self.leased: frozenset[int] = frozenset()
        self.funded: int | None = None  # the version that the newest lease gave messages of, be it none
        self.view = View()
        self.closed = False
        self.ids: dict[int, int | str] = {}  # by version: the id that its data carries, held or not
        self.problem: str | None = None

    def install(self, version: Version) -> None:
        """Hold a version: it processes from now on. One that was stopped on its way is not held."""
        if version.version in self.stopped or version.version in self.destroyed:
            return
        if isinstance(version, SecretVersion):
            version.quota = self._spent.pop(version.version, version.quota)
            version.quota.hurry = self.lease.hurry
        self.held[version.version] = version
        self.ids[version.version] = version.id
        self.view = replace(self.view, by_id={**self.view.by_id, version.id: version})

    def switch(self, number: int) -> int | None:
        """Protect with a version that is held; the one before."""
        previous = self.newest or None
        self.newest = number
        self.next = None
        self.view = replace(self.view, current=self.held[number], refusal=None)
        return previous

    def learn(self, ids: Mapping[int, int | str]) -> None:
        """By which id the data of versions is known that may never have been held here."""
        self.ids = {**ids, **self.ids}  # a version never gets another id
        self.view = replace(self.view, refused_ids=self._refused_ids())

    def stop(self, stops: Mapping[int, Stopped]) -> list[Stopped]:
        """Neither protect nor process with these any more; those that were held here."""
        self.stopped.update(stops)
        gone = [self.held.pop(number) for number in stops if number in self.held]
        self.leaving += gone
        self._spent |= {one.version: one.quota for one in gone if isinstance(one, SecretVersion)}
        view, ids = self.view, {version.id for version in gone}
        refused = self.stopped.get(self.newest)
        self.view = View(
            current=None if refused else view.current,
            by_id={name: version for name, version in view.by_id.items() if name not in ids},
            refused_ids=self._refused_ids(),
            refusal=refused,
        )
        return [self.stopped[version.version] for version in gone]

    def lift(self, lifts: Lifts) -> list[int]:
        """Two people's word that these suspensions are no more; the versions that may be held again."""
        for number, ids in lifts.items():
            self.lifted[number] = self.lifted.get(number, frozenset()) | ids
        back = sorted(number for number, stop in self.stopped.items() if stop.is_lifted(self.lifted))
        for number in back:
            del self.stopped[number]
        if back:
            refusal = self.stopped.get(self.newest)
            self.view = replace(self.view, refused_ids=self._refused_ids(), refusal=refusal)
        return back

    def destroy(self, gone: Mapping[int, Gone]) -> list[int]:
        """Drop what is destroyed, for good; the versions that were held here."""
        self.destroyed.update(gone)
        dropped = [self.held.pop(number) for number in gone if number in self.held]
        self.leaving += dropped
        view, ids = self.view, {version.id for version in dropped}
        self.view = replace(
            view,
            current=None if view.current in dropped else view.current,
            by_id={name: version for name, version in view.by_id.items() if name not in ids},
            refused_ids=self._refused_ids(),
        )
        return [version.version for version in dropped]

    def close(self) -> None:
        """Let nobody in any more: who is not inside a version now will not be."""
        self.closed = True

    def enter(self) -> Version:
        """The version that protects, entered: the caller must leave ``in_flight``.

        Raises:
            LeaseExpiredError: the connection was closed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped it.
            UnavailableError: no version was activated yet.
        """
        while not self.closed:
            version = self.view.current
            if version is None:
                raise self._refused()
            version.in_flight.enter()
            if self.view.current is version and not self.closed:  # what came in between did not see this call
                return version
            version.in_flight.leave()
        raise LeaseExpiredError(f"key {self.name}: the connection was closed", hint="connect again")

    def find(self, name: int | str) -> Version:
        """The version whose data carries this id, to process with.

        Raises:
            VersionSuspendedError, VersionCompromisedError: a responder stopped it.
            VersionDestroyedError: it is gone.
            UnknownKeyIdError: no version that is held here.
        """
        version = self.view.by_id.get(name)
        if version is not None:
            return version
        stop = self.view.refused_ids.get(name)
        if stop is not None:
            raise stop.error()
        text = f"key {self.name} has no version with id {str(name)[:64]!r}"
        raise UnknownKeyIdError(text, hint=f"is it data of this key? rekey key show {self.name}")

    def is_taken(self, name: int | str, *, by_other_than: int) -> bool:
        """Whether data of another version carries this id."""
        return any(known == name for version, known in self.ids.items() if version != by_other_than)

    def counted(self) -> SecretVersion | None:
        """The version for which a quota of messages is needed: the one to come, else the one that protects."""
        version = (self.held.get(self.next) if self.next else None) or self.view.current
        return version if isinstance(version, SecretVersion) and version.is_counted else None

    @property
    def is_ready(self) -> bool:
        """Whether calls can be answered, if only by saying who stopped the key."""
        current = self.view.current
        if isinstance(current, SecretVersion) and current.is_counted and current.quota.total == 0:
            # none yet: while nobody waited for us another version became current, whose messages are of no use here;
            # or none at all, when the budget gives none: then a call says so
            return self.funded == current.version
        return current is not None or bool(self.stopped)

    def receipt(self) -> KeyReceipt:
        """What the instance states of this key: versions in a lease need no second proof but those that still move."""
        older = {number for number in self.held if number < (self.protects or self.newest)}
        moving = {number for number in self.held if number >= self._previous()}
        proved = sorted(moving | (set(self.held) - self.leased))
        leaving = {version.version for version in self.leaving}
        refused = set(self.stopped) - leaving
        return KeyReceipt(
            proofs={number: self.held[number].proof() for number in proved},
            protects=self.protects,
            stopped=tuple(sorted(older | refused)),
            refused=tuple(sorted(refused)),
            destroyed=tuple(sorted(set(self.destroyed) - leaving))[-MAX_DESTROYED_NAMED:],
            as_of=self.as_of,
        )

    def _refused_ids(self) -> dict[int | str, Stopped | Gone]:
        """By the ids that their data carries; a version that is gone is gone, whoever stopped it before."""
        why: dict[int, Stopped | Gone] = {**self.stopped, **self.destroyed}
        return {self.ids[version]: one for version, one in why.items() if version in self.ids}

    def _previous(self) -> int:
        below = [number for number in self.held if number < self.newest]
        return max(below, default=0)

    def _refused(self) -> Exception:
        refusal = self.view.refusal
        if refusal is None and self.stopped:
            refusal = self.stopped[max(self.stopped)]
        if refusal is not None:
            return refusal.error()
        return UnavailableError(
            f"key {self.name} has no active version yet", hint=f"rekey adoption {self.name}"
        )


def _protecting(version: Version | None) -> Protecting | None:
    if not isinstance(version, AeadVersion):
        return None
    calls = version.in_flight
    return Protecting(
        calls.enter, calls.leave, version.quota.permit, prefix_of(version.id), version.aead.encrypt
    )


def aead_version(version: Version) -> AeadVersion:
    """A version for encrypt and decrypt here; keyring() gives out no other keys."""
    if not isinstance(version, AeadVersion):
        raise TypeError(f"{version.fact.key} is not a key for encrypt and decrypt here")
    return version
