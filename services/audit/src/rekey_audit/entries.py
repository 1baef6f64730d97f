"""A fact as one line of a key's history: what, when, who decided, on whose command. Pure."""

from __future__ import annotations

from typing import Final

from rekey_core.commands import read_command
from rekey_core.contracts import (
    Activated,
    BackedUp,
    Compromised,
    Count,
    Deactivated,
    Delivered,
    Destroyed,
    DestructionCancelled,
    DestructionScheduled,
    Fact,
    Generated,
    Granted,
    HistoryEntry,
    Registered,
    Restored,
    Resumed,
    RotationRequested,
    SignedCommand,
    Suspended,
    Waived,
)
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import MalformedError

MAX_DETAIL: Final = 500  # HistoryEntry.detail
_EVENT_TOKEN: Final = 5  # evt.<env>.<key>.<version>.<service>.<event>.<n>
_SERVICE_TOKEN: Final = 4
_VERSION_TOKEN: Final = 3


def fact_entry(stored: Stored[Fact]) -> HistoryEntry:
    """A valid fact; the fold has verified the command inside."""
    fact = stored.model
    command = getattr(fact, "command", None)
    return HistoryEntry(
        sequence=stored.sequence,
        at=stored.stored_at,
        version=fact.version,
        event=fact.EVENT,
        author=fact.author,
        person=read_command(command).author if command else None,
        detail=_detail(fact)[:MAX_DETAIL],
    )


def delivered_entry(stored: Stored[Delivered]) -> HistoryEntry:
    """A batch of first deliveries."""
    batch = stored.model
    counts: dict[str, int] = {}
    for delivery in batch.deliveries:
        counts[delivery.dependent] = counts.get(delivery.dependent, 0) + 1
    return HistoryEntry(
        sequence=stored.sequence,
        at=stored.stored_at,
        version=batch.version,
        event="delivered",
        author=batch.author,
        person=None,
        detail=("to " + ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())))[:MAX_DETAIL],
    )


def void_entry(message: BusMessage, error: MalformedError) -> HistoryEntry:
    """A message without effect. Its subject is all that is believed of it: the bus let only that author write there."""
    tokens = [*message.subject.split("."), "", "", "", "", "", ""]
    delivery = tokens[0] == "dlv"
    return HistoryEntry(
        sequence=message.sequence,
        at=message.stored_at,
        version=_version(tokens[_VERSION_TOKEN]),
        event="delivered" if delivery else tokens[_EVENT_TOKEN] or "unknown",
        author="distributor" if delivery else tokens[_SERVICE_TOKEN] or "unknown",
        person=None,
        detail="",
        void=f"{error.code}: {error}"[:MAX_DETAIL],
    )


def _version(token: str) -> int:
    return int(token) if token.isascii() and token.isdigit() and len(token) < 10 else 0  # noqa: PLR2004 - below 2^31


def _detail(fact: Fact) -> str:  # noqa: C901 - one case for each fact
    detail = ""
    match fact:
        case Registered():
            detail = f"{fact.key_class}, {fact.algorithm}, {fact.release}: {fact.purpose}"
        case Granted():
            detail = f"to {fact.dependent}"
        case RotationRequested():
            detail = (
                f"reason {fact.reason}, every instance should hold it by {fact.deadline:%Y-%m-%d %H:%M:%SZ}"
            )
        case Generated() | BackedUp() | Restored():
            detail = _wrapped(fact)
        case Waived():
            detail = f"not waited for: {_names(fact)}{_with(fact.command)}"
        case Activated() | Deactivated():
            detail = f"proved by {_counts(fact.proved)}"
            passed_over = [f"{count.dependent}/{i}" for count in fact.proved for i in count.waived]
            detail += f"; not waited for: {', '.join(passed_over)}" if passed_over else ""
        case Suspended() | Compromised():
            which = f"version {fact.version}" if fact.version else "every version"
            detail = f"{which}: {read_command(fact.command).reason}"
        case Resumed():
            detail = f"{read_command(fact.command).reason}{_with(fact.command)}"
        case DestructionScheduled():
            detail = f"not before {fact.not_before:%Y-%m-%d %H:%M:%SZ}: {read_command(fact.command).reason}"
        case DestructionCancelled():
            detail = read_command(fact.command).reason
        case Destroyed():
            detail = _erasure(fact)
    return detail


def _wrapped(fact: Generated | BackedUp | Restored) -> str:
    """What was made and where it lies."""
    if isinstance(fact, BackedUp):
        return f"under backup KEK epoch {fact.backup_epoch}"
    if isinstance(fact, Restored):
        officers = ", ".join(sorted({signature.person for signature in fact.order.signatures}))
        return f"from its backup, KEK epoch {fact.epoch}, ordered by {officers}"
    return f"key id {fact.key_id}, KEK epoch {fact.epoch}, commitment {fact.commitment[:16]}"


def _erasure(fact: Destroyed) -> str:
    """What is claimed, what is not, and when it becomes certain (DESIGN §5)."""
    claimed, not_claimed = (", ".join(words) or "nothing" for words in (fact.claimed, fact.not_claimed))
    certain = f"certain when KEK epoch {fact.epoch} dies" if fact.epoch else "it was never generated"
    return f"claimed: {claimed}; not claimed: {not_claimed}; {certain}"


def _names(fact: Waived) -> str:
    return ", ".join(f"{whom.dependent}/{whom.instance or 'every instance'}" for whom in fact.whom)


def _with(signed: SignedCommand) -> str:
    """The other people of a command."""
    others = ", ".join(cosignature.person for cosignature in signed.cosignatures)
    return f" ({read_command(signed).VERB} with {others})" if others else ""


def _counts(proved: tuple[Count, ...]) -> str:
    named = [f"{count.dependent} ({len(count.instances)})" for count in proved if count.instances]
    return ", ".join(named) or "nobody: no instance was live"
