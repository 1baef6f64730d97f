"""Audit's answers and the command line's own results as data and tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rekey.cli.output import Row, View, head_lines, text, when
from rekey.cli.plans import Plan, lines
from rekey_core.contracts import (
    AdoptionAnswer,
    CommandAnswer,
    HistoryAnswer,
    HistoryEntry,
    InstanceAdoption,
    KeySummary,
    Waiting,
)

SHORT_ID: Final = 8  # digits of an instance id in a table; JSON has all 32
_HISTORY: Final = ("sequence", "at", "version", "event", "author", "person", "detail")


def keys_view(keys: Sequence[KeySummary]) -> View:
    """``key ls``."""
    columns = (
        "key",
        "owner",
        "class",
        "algorithm",
        "current",
        "versions",
        "in state",
        "rotates by",
        "dependents",
    )
    cells = tuple(
        (
            k.key, k.owner, k.key_class, k.algorithm.value, text(k.current),
            ", ".join(f"{v.version} {v.state}" for v in k.versions[-2:]) or "-", _counts(k), when(k.rotates_by),
            text(k.dependents),
        )
        for k in keys
    )  # fmt: skip
    return View([k.model_dump(mode="json") for k in keys], columns, cells)


def key_view(key: KeySummary, waiting: Waiting | None = None) -> View:
    """``key show``."""
    data = key.model_dump(mode="json") | {"waiting": waiting.model_dump(mode="json") if waiting else None}
    readable = {"waiting": _for(waiting), "counts": _counts(key), "rotates_by": when(key.rotates_by)}
    head = {name: value for name, value in data.items() if name != "versions"} | readable
    cells = tuple(
        (text(v.version), v.state, when(v.since), text(v.key_id), when(v.destruction)) for v in key.versions
    )
    return View(data, ("version", "state", "since", "key id", "destroyed from"), cells, head_lines(head))


def history_view(answer: HistoryAnswer) -> View:
    """``key history``: one row per message of the log, void ones marked."""
    rows = [entry.model_dump(mode="json") for entry in answer.entries]
    return View(rows, _HISTORY, tuple(_entry(entry) for entry in answer.entries))


def adoption_view(answer: AdoptionAnswer) -> View:
    """``adoption``: one row per live instance, and one for a dependent without any."""
    cells: list[tuple[str, ...]] = []
    for dependent in answer.dependents:
        rows = [_instance(dependent.dependent, instance) for instance in dependent.instances]
        cells += rows or [(dependent.dependent, "no live instance", *["-"] * 5)]
    head = {
        "key": answer.key,
        "version": answer.version,
        "state": answer.state,
        "deadline": when(answer.deadline),
        "waiting": _for(answer.waiting),
    }
    columns = ("dependent", "instance", "installed", "switched", "stopped", "waived", "lease until")
    return View(_plain(answer), columns, tuple(cells), head_lines(head))


def command_view(answer: CommandAnswer) -> View:
    """``command``: what became of it."""
    head = {"command": answer.command, "status": answer.status}
    if answer.status == "refused":
        head |= {"refused": f"{answer.code}: {answer.message}", "hint": text(answer.hint)}
    return View(
        _plain(answer), _HISTORY if answer.facts else (), tuple(map(_entry, answer.facts)), head_lines(head)
    )


def plan_view(plan: Plan) -> View:
    """``--plan``."""
    return View(plan.model_dump(mode="json"), lines=tuple(lines(plan)))


def result_view(result: Row) -> View:
    """What a command that changes something says at its end."""
    return View(result, lines=head_lines(result))


def _counts(key: KeySummary) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(key.counts.items())) or "-"


def _entry(entry: HistoryEntry) -> tuple[str, ...]:
    detail = f"VOID {entry.void}" if entry.void else entry.detail
    return (
        text(entry.sequence), when(entry.at), text(entry.version or None), entry.event, entry.author,
        text(entry.person), detail,
    )  # fmt: skip


def _instance(dependent: str, instance: InstanceAdoption) -> tuple[str, ...]:
    said = (instance.installed, instance.switched, instance.stopped, instance.waived)
    proofs = tuple(map(text, said))
    return (dependent, instance.instance[:SHORT_ID], *proofs, when(instance.lease_until))


def _for(waiting: Waiting | None) -> str | None:
    """Whom a rotation waits for, in a line."""
    if waiting is None:
        return None
    who = ", ".join(waiting.missing)
    return f"since {when(waiting.since)} for {who} to have {waiting.step} version {waiting.version}"


def _plain(answer: AdoptionAnswer | CommandAnswer) -> Row:
    return answer.model_dump(mode="json", exclude={"type", "env", "person", "nonce"})
