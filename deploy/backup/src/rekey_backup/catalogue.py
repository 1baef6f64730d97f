"""Which versions must come out of the offline token, and what is wrong before it is asked. Pure.

A destroyed version is never among them, whatever lies in the place of its backup: the log decides, not the blob.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rekey_backup.bundle import Bundle
from rekey_core.authority import Subjects
from rekey_core.confirmation import VersionContext
from rekey_core.contracts import BackupRecord, Generated, Tombstone
from rekey_core.drilled import is_backed_up
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import BusMessage
from rekey_core.errors import MalformedError, RecordError
from rekey_core.fold import KeyState
from rekey_core.readers import open_backup
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts, Wrapped


@dataclass(frozen=True)
class Kept:
    """A version with its backup, and what it must turn out to be."""

    made: Generated
    epoch: int  # of the KEK under which it lies
    backup_epoch: int
    blob: bytes

    @property
    def name(self) -> str:
        """As people name it."""
        return f"{self.made.key}@{self.made.version}"

    @property
    def context(self) -> VersionContext:
        """What its MACs are bound to."""
        made = self.made
        return VersionContext(made.env, made.key, made.version, made.algorithm, made.release, made.epoch)

    @property
    def spki(self) -> bytes | None:
        """DER SubjectPublicKeyInfo of an asymmetric version."""
        return b64u_decode(self.made.spki) if self.made.spki else None


@dataclass(frozen=True)
class Catalogue:
    """Everything that the log says of backups. ``problems``: one line for each version that nothing can be proved of."""

    kept: tuple[Kept, ...]
    backed_up: int  # versions that the log says are backed up and not destroyed, whatever lies there
    destroyed: int
    unbacked: tuple[
        str, ...
    ]  # generated, neither destroyed nor backed up: their class or their state says so
    problems: tuple[str, ...]
    as_of: int


def catalogue(bundle: Bundle, trust: Trust) -> Catalogue:
    """What the facts and the blobs of a bundle come to."""
    places, subjects = {message.subject: message for message in bundle.backups}, Subjects(trust.env)
    kept: list[Kept] = []
    problems: list[str] = []
    backed_up, destroyed, unbacked = 0, 0, list[str]()
    for state, version in _versions(bundle, trust):
        backed_up += is_backed_up(version)
        try:
            found = judged(
                state, version, _record(places.get(subjects.backup(state.key, version.number)), trust)
            )
        except RecordError as problem:
            problems.append(f"{state.key}@{version.number}: {problem}")
            continue
        destroyed += version.destroyed is not None
        unbacked += [f"{state.key}@{version.number}"] if found is None and version.destroyed is None else []
        kept += [found] if found else []
    as_of = max((message.sequence for message in bundle.facts), default=0)
    return Catalogue(tuple(kept), backed_up, destroyed, tuple(unbacked), tuple(problems), as_of)


def lying(bundle: Bundle, trust: Trust) -> dict[str, Wrapped]:
    """Where the log says that each version lies that is not destroyed, by its name."""
    return {
        f"{state.key}@{version.number}": lies
        for state, version in _versions(bundle, trust)
        if version.destroyed is None and (lies := version.wrapped) is not None
    }


def _versions(bundle: Bundle, trust: Trust) -> Iterator[tuple[KeyState, VersionFacts]]:
    for state in bundle.states(trust):
        for _, version in sorted(state.versions.items()):
            if version.generated is not None or version.destroyed is not None:
                yield state, version


def judged(state: KeyState, version: VersionFacts, record: BackupRecord | Tombstone | None) -> Kept | None:
    """What must come out of the token for a version; none: nothing, and that is right.

    Raises:
        RecordError: what lies there is not what the log says.
    """
    if state.undecidable:
        raise RecordError(f"the key cannot be decided: {state.undecidable}")
    if version.destroyed is not None:
        if isinstance(record, BackupRecord):
            raise RecordError("it is destroyed, and its backup still stands")
        return None
    if version.backed_up is None or (lies := version.wrapped) is None:
        return None
    said = version.backed_up.model
    if not isinstance(record, BackupRecord):
        found = "a tombstone" if record else "nothing"
        raise RecordError(f"expected the backup that the log names, found {found}")
    blob = b64u_decode(record.blob)
    if (sha256_hex(blob), record.backup_epoch) != (said.blob_digest, said.backup_epoch):
        raise RecordError("the backup is another one than the log names")
    return Kept(lies.made, lies.epoch, said.backup_epoch, blob)


def _record(message: BusMessage | None, trust: Trust) -> BackupRecord | Tombstone | None:
    if message is None:
        return None
    try:
        return open_backup(message, trust).model
    except MalformedError as error:
        raise RecordError(f"what lies there is no backup of ours: {error}") from error
