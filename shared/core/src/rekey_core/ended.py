"""From "officers saw the last half of a KEK epoch destroyed" to "it has ended": a quorum, and the log's own count. Pure.

What happens on tokens is in no log; two of the officers who hold the ceremony say it. Whoever has the log counts again: a
document about an epoch that something lies under is refused, whoever signed it. An end holds for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rekey_core.census import hanging
from rekey_core.contracts import About, EpochEnd, OfficersSigned
from rekey_core.drilled import CLOCK_SKEW, officers_of, open_record
from rekey_core.envelope import BusMessage
from rekey_core.errors import ExpiredError, RefusedError, SchemaError, StateRefusedError
from rekey_core.fold import KeyState
from rekey_core.officers import open_by_quorum
from rekey_core.trust import Trust

KEK_END: Final[About] = "kek-end"  # the kind of report
MAX_NAMED: Final = 10  # versions in a refusal; rekey kek status names all


@dataclass(frozen=True)
class Ended:
    """A KEK epoch that is on record as ended: what officers say of it, who, where the record stands in ``REPORTS``."""

    found: EpochEnd
    officers: tuple[str, ...]
    sequence: int


def ended(signed: OfficersSigned, at: datetime, trust: Trust) -> EpochEnd:
    """The end of an epoch, if a quorum of the officers of that moment says so.

    Args:
        signed: what they say with its signatures.
        at: when the log took it.
        trust: who is who; the document in force then counts.

    Raises:
        AuthorityError, SchemaError, ForeignEnvironmentError: as ``open_by_quorum``.
        ExpiredError: it is of the future.
    """
    found = open_by_quorum(signed, EpochEnd, trust.at(at))
    if found.at - at > CLOCK_SKEW:
        raise ExpiredError(f"KEK epoch {found.epoch} is said to end at {found.at}, now it is {at}")
    return found


def open_end(message: BusMessage, trust: Trust) -> Ended:
    """The end of an epoch from audit's record of it, judged again: the officers' word counts, audit only keeps it.

    Raises:
        MalformedError: nothing that audit recorded there, or no quorum of that moment said so.
    """
    record = open_record(message, KEK_END, trust)
    try:
        found = ended(record.signed, message.stored_at, trust)
    except RefusedError as error:
        raise SchemaError(f"{message.subject}: {error}") from error
    return Ended(found, officers_of(record.signed), message.sequence)


def check_empty(found: EpochEnd, keys: Iterable[KeyState]) -> None:
    """Return if nothing lies under the epoch, or may have when it was counted.

    ``keys``: every key of the environment, folded at least up to ``found.as_of``.

    Raises:
        StateRefusedError: something does, a key cannot be decided, or there is no key at all, which proves nothing.
    """
    states, lying = list(keys), list[str]()
    for state in states:
        lying += [f"{state.key}, which cannot be decided"] if state.undecidable else []
        lying += [
            lies.name
            for lies in hanging(state)
            if lies.epoch == found.epoch or (lies.epoch is None and lies.since <= found.as_of)
        ]
    if lying or not states:
        more = f" and {len(lying) - MAX_NAMED} more" if len(lying) > MAX_NAMED else ""
        what = f"{', '.join(lying[:MAX_NAMED])}{more}" if lying else "no key at all"
        message = f"the end of KEK epoch {found.epoch}: expected a log with nothing under it, found {what}"
        raise StateRefusedError(message, hint=f"rekey kek status --epoch {found.epoch}")
