"""``rekey kek``: what lies under which KEK epoch, before the old one is retired."""

from __future__ import annotations

from typing import Final

from rekey.cli.errors import Exit
from rekey.cli.output import View, text
from rekey_core.contracts import EndedEpoch, KekAnswer, KekUse

TRIES: Final = 10  # audit may have to read every key first; what it has read it keeps


def status_view(answer: KekAnswer) -> View:
    """``kek status``: how much lies where, then each version that hangs where it should not stay."""
    data = answer.model_dump(mode="json", exclude={"type", "env", "person", "nonce"})
    cells = tuple((n.key, text(n.version), n.state, text(n.epoch), n.command) for n in answer.names)
    columns = ("key", "version", "state", "epoch", "next") if cells else ()
    return View(data, columns, cells, (*map(_use, answer.uses), *map(_end, answer.ended), _sum(answer)))


def exit_code(answer: KekAnswer) -> int:
    """5 while anything hangs where it should not stay, else 0."""
    return Exit.PRECONDITION if answer.hanging else Exit.DONE


def _use(use: KekUse) -> str:
    under = f"epoch {use.epoch}" if use.epoch else "any epoch, not said to be generated yet"
    return f"{use.key_class}, {use.algorithm.value}, {use.release.value}: {use.versions} under {under}"


def _end(end: EndedEpoch) -> str:
    who = " and ".join(end.officers)
    when = f"{end.at:%Y-%m-%d %H:%M:%SZ}"
    return f"epoch {end.epoch} ended at {when}: its halves are destroyed, as {who} attest ({end.reason})"


def _sum(answer: KekAnswer) -> str:
    where = f"epoch {answer.epoch}" if answer.epoch else f"the epochs before {answer.newest or 'the first'}"
    if answer.epoch and answer.epoch > (answer.newest or 0):
        where += ", under which nothing ever lay"
    more = answer.hanging - len(answer.names)
    return f"{answer.hanging} hang under {where}" + (f", {more} of them not shown" if more else "")
