"""From "officers saw a drill end" to "the backups are proved until then": a quorum, a lifetime, the log's own count. Pure.

Officers say what they saw; how many versions there were to see is not for them to say. Whoever gave them an incomplete
bundle gave them a drill that is right about too few versions, and audit, which has the whole log, counts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rekey_core.authority import Subjects
from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    About,
    AttestationOffer,
    Attested,
    DrillAttestation,
    OfficersSigned,
)
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import BusMessage, expect, parse, unpack
from rekey_core.errors import (
    ExpiredError,
    ForeignEnvironmentError,
    PolicyError,
    RefusedError,
    SchemaError,
    StateRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.officers import open_by_quorum
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts

ATTESTATION: Final[About] = "attestation"  # the kind of report
CLOCK_SKEW: Final = timedelta(
    seconds=60
)  # as far as the offline clock may be ahead of the log's (commands.CLOCK_SKEW_S)


@dataclass(frozen=True)
class Drill:
    """A drill on record: how it ended, who signed that, where the record stands in ``REPORTS``."""

    found: DrillAttestation
    officers: tuple[str, ...]
    sequence: int


def attestation_id(signed: OfficersSigned) -> str:
    """SHA-256 (hex) of what the officers signed."""
    return sha256_hex(b64u_decode(signed.payload))


def open_attestation_offer(subject: str, data: bytes, env: str) -> AttestationOffer:
    """An attestation on its own subject; what it says is judged by ``attested`` and the log.

    Raises:
        SchemaError: it is none.
        ForeignEnvironmentError: made for another environment.
        ReplayedError: another attestation's subject.
    """
    offer = parse(data, AttestationOffer.TYPE, (AttestationOffer,), where=subject)
    if offer.env != env:
        raise ForeignEnvironmentError(f"{subject}: made for environment {offer.env}, expected {env}")
    expect(subject, Subjects(env).attestation(attestation_id(offer.signed)), what="attestation")
    return offer


def attested(signed: OfficersSigned, at: datetime, trust: Trust) -> DrillAttestation:
    """How a drill ended, if a quorum of the officers of that moment says so.

    Args:
        signed: the attestation with its signatures.
        at: when the log took it.
        trust: who is who; the document in force then counts.

    Raises:
        AuthorityError, SchemaError, ForeignEnvironmentError: as ``open_by_quorum``.
        PolicyError: it would hold for another time than every attestation does.
        ExpiredError: it is of the future, or over.
    """
    found = open_by_quorum(signed, DrillAttestation, trust.at(at))
    lifetime = found.expires_at - found.at
    if lifetime != ATTESTATION_LIFETIME:
        raise PolicyError(
            f"attestation of {found.at}: expected to hold for {ATTESTATION_LIFETIME}, found {lifetime}"
        )
    if found.at - at > CLOCK_SKEW or at >= found.expires_at:
        raise ExpiredError(
            f"the drill was at {found.at}, its attestation holds until {found.expires_at}, now it is {at}",
            hint="try a restore again: rekey backup restore --drill",
        )
    return found


def open_drill(message: BusMessage, trust: Trust) -> Drill:
    """A drill from audit's record of it, judged again: the officers' word counts, audit only keeps it.

    Raises:
        MalformedError: nothing that audit recorded there, or no quorum of that moment said so.
    """
    record = open_record(message, ATTESTATION, trust)
    try:
        found = attested(record.signed, message.stored_at, trust)
    except RefusedError as error:
        raise SchemaError(f"{message.subject}: {error}") from error
    return Drill(found, officers_of(record.signed), message.sequence)


def open_record(message: BusMessage, about: About, trust: Trust) -> Attested:
    """What audit has recorded about a drill, or another thing that officers attest; whether they did is still to be judged.

    Raises:
        MalformedError: nothing that audit recorded there.
    """
    where = message.subject
    record = unpack(message, (Attested,), trust.at(message.stored_at).service_keys(Service.AUDIT)).model
    if (record.env, record.author) != (trust.env, Service.AUDIT):
        raise ForeignEnvironmentError(
            f"{where}: expected audit of {trust.env}, found {record.author} of {record.env}"
        )
    expect(where, record_subject(trust.env, about, record.signed), what=about)
    return record


def officers_of(signed: OfficersSigned) -> tuple[str, ...]:
    """Who signed, by name."""
    return tuple(sorted({signature.person for signature in signed.signatures}))


def record_subject(env: str, about: About, signed: OfficersSigned) -> str:
    """Where the record of what officers attest stands in ``REPORTS``."""
    return Subjects(env).report(Service.AUDIT, about, attestation_id(signed)[:16])


def drill_subject(env: str, signed: OfficersSigned) -> str:
    """Where the record of a drill stands in ``REPORTS``."""
    return record_subject(env, ATTESTATION, signed)


def is_record(subject: str, about: About) -> bool:
    """Whether records of that kind stand on such a subject."""
    return subject.split(".")[3:4] == [about]


def is_drill(subject: str) -> bool:
    """Whether records of drills stand on such a subject."""
    return is_record(subject, ATTESTATION)


def is_backed_up(version: VersionFacts, as_of: int | None = None) -> bool:
    """Whether the log up to a sequence says that the version has a backup, and none that is destroyed; none: all of it."""
    said = [version.backed_up, version.destroyed]
    backed_up, destroyed = (fact is not None and (as_of is None or fact.sequence <= as_of) for fact in said)
    return backed_up and not destroyed


def check_count(found: DrillAttestation, keys: Iterable[KeyState]) -> None:
    """Return if a drill checked as many versions as the log had backups of when it began.

    ``keys``: every key of the environment, folded at least up to ``found.as_of``.

    Raises:
        StateRefusedError: it checked fewer, or more, or none: whoever saw no backup has proved none.
    """
    if not found.checked:
        raise StateRefusedError(
            f"the drill of {found.at} checked no version, so it proves nothing",
            hint="export again and try the restore again: was the bundle read in full?",
        )
    expected = sum(is_backed_up(version, found.as_of) for key in keys for version in key.versions.values())
    if found.checked != expected:
        raise StateRefusedError(
            f"the drill of {found.at} checked {found.checked} versions, "
            f"the log up to {found.as_of} has backups of {expected}",
            hint="export again and try the restore again: the bundle was not complete",
        )
