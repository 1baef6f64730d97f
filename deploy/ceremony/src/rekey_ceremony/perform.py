"""The ceremony: one process per token; this one carries points, check values and probes between them.

For each key, in this order: the generator's half, the distributor's half, equal check values, a probe wrapped
by the one and opened by the other; then, by processes that find all of it on the tokens, the mark on the generator's. A
ceremony that dies anywhere is run again and makes anew what is not proved; what is, is never made again, since blobs may
lie under it.

An epoch joins the older ones in the same way while both services work: none of them counts a key as there whose ceremony is
not finished, and the mark on the record MAC key, the last of all, is what makes the generator wrap under the epoch.

Backup KEKs are made in the same way, between the generator's token, which may wrap, and the offline one, which opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.plan import CeremonyPlan, CeremonyReport, FoundedKey
from rekey_ceremony.sides import Side, found_side, held, labels, made_side
from rekey_core.errors import HsmError
from rekey_hsm import backup_label
from rekey_hsm.kinds import KINDS

_AGAIN: Final = "run the ceremony again"


def perform(plan: CeremonyPlan) -> CeremonyReport:
    """Initialise the tokens and give each its half of every key of the epoch; again is no change.

    What was made is looked up again, and marked, by processes that have not seen it: a token without room may say yes, show
    the key to whoever made it, and keep half of it. What such a token kept has no mark, so it is let go, and the ceremony
    makes it anew once there is room.

    Raises:
        HsmError: a token refuses or does not keep a half, the sides do not agree, or a half that was founded is gone.
    """
    made: list[str] = []
    try:
        report = _perform(plan, made)
        if made:
            _mark_kept(plan, made)
    except HsmError:
        _let_go(plan, made)
        raise
    return report


def _perform(plan: CeremonyPlan, made: list[str]) -> CeremonyReport:
    """``made``: takes the labels of what is made, before anything is."""
    with ExitStack() as stack:
        generator = made_side(stack, plan, "generator", plan.generator)
        distributor = made_side(stack, plan, "distributor", plan.distributor)
        backup = made_side(stack, plan, "backup", plan.backup) if plan.backup else None
        keys = _found(generator.process, distributor.process, labels(plan.env, plan.epoch), made)
        if backup is not None:
            keys += _found(generator.process, backup.process, _backup_labels(plan), made)
    return CeremonyReport(generator.report, distributor.report, keys, backup.report if backup else None)


def _mark_kept(plan: CeremonyPlan, made: Sequence[str]) -> None:
    with _sides(plan) as sides:
        for label in made:
            try:
                found = "" if _kept(*sides(label), label) else "that it is gone"
            except HsmError as error:
                found = str(error)
            if found:
                message = f"the tokens were expected to keep {label}, found when opened again: {found}"
                raise HsmError(
                    message, hint=f"one may be full: make room where it keeps its objects, then {_AGAIN}"
                )


def _let_go(plan: CeremonyPlan, made: Sequence[str]) -> None:
    """Destroy what this ceremony made and did not mark. Nothing can lie under it: a service counts what is marked."""
    if made:
        with _sides(plan) as sides:
            for label in made:
                generator, other = sides(label)
                if not generator.ask("marked", label=label)["marked"]:
                    for side in (generator, other):
                        side.ask("let_go", label=label)


@contextmanager
def _sides(plan: CeremonyPlan) -> Iterator[Callable[[str], tuple[SideProcess, SideProcess]]]:
    """Fresh processes; which two hold the halves of a label."""
    with ExitStack() as stack:
        generator = found_side(stack, plan, "generator", plan.generator).process
        distributor = found_side(stack, plan, "distributor", plan.distributor).process
        backup = found_side(stack, plan, "backup", plan.backup).process if plan.backup else distributor
        kept_offline = _backup_labels(plan) if plan.backup else ()
        yield lambda label: (generator, backup if label in kept_offline else distributor)


def planned(plan: CeremonyPlan) -> CeremonyReport:
    """What ``perform`` would make; nothing is changed.

    Raises:
        HsmError: as ``perform``, as far as that can be told without making anything.
    """
    with ExitStack() as stack:
        generator = found_side(stack, plan, "generator", plan.generator)
        distributor = found_side(stack, plan, "distributor", plan.distributor)
        backup = found_side(stack, plan, "backup", plan.backup) if plan.backup else None
        keys = _would_found(generator, distributor, labels(plan.env, plan.epoch))
        if backup is not None:
            keys += _would_found(generator, backup, _backup_labels(plan))
    return CeremonyReport(generator.report, distributor.report, keys, backup.report if backup else None)


def _would_found(generator: Side, other: Side, names: tuple[str, ...]) -> tuple[FoundedKey, ...]:
    if generator.report.made or other.report.made:
        return tuple(FoundedKey(label, "", made=True) for label in names)
    values = {label: held(generator.process, other.process, label)[0] for label in names}
    return tuple(FoundedKey(label, value, made=not value) for label, value in values.items())


def _backup_labels(plan: CeremonyPlan) -> tuple[str, ...]:
    return tuple(
        backup_label(plan.env, kind.release, kind.algorithms[0], plan.backup_epoch) for kind in KINDS
    )


def _found(
    generator: SideProcess, distributor: SideProcess, names: tuple[str, ...], made: list[str]
) -> tuple[FoundedKey, ...]:
    kept = {label: _kept(generator, distributor, label) for label in names}
    if all(kept.values()):
        return tuple(FoundedKey(label, value, made=False) for label, value in kept.items())
    made += [label for label, value in kept.items() if not value]
    _agree(generator, distributor)
    keys = tuple(
        FoundedKey(label, value or _make(generator, distributor, label), made=not value)
        for label, value in kept.items()
    )
    for side in (generator, distributor):
        side.ask("end")
    return keys


def _kept(generator: SideProcess, distributor: SideProcess, label: str) -> str:
    """The check value of a key that both tokens hold, proved and then marked; empty when it is to be made."""
    value, is_marked = held(generator, distributor, label)
    if value and not is_marked:  # proved, by this ceremony or by one that died then
        generator.ask("mark", label=label, check_value=value)
    return value


def _agree(generator: SideProcess, distributor: SideProcess) -> None:
    points = {
        "generator_point": generator.ask("begin")["point"],
        "distributor_point": distributor.ask("begin")["point"],
    }
    fingerprints = {side.ask("agree", **points)["fingerprint"] for side in (generator, distributor)}
    if len(fingerprints) != 1:
        message = f"the sides saw different points: {' and '.join(sorted(fingerprints))}"
        raise HsmError(message, hint="somebody changed what passed between the tokens")


def _make(generator: SideProcess, distributor: SideProcess, label: str) -> str:
    values = {side.ask("leave_half", label=label)["check_value"] for side in (generator, distributor)}
    if len(values) != 1:
        message = f"the halves of {label} have check values {' and '.join(sorted(values))}"
        raise HsmError(message)
    value = values.pop()
    distributor.ask("keep_probe", label=label, probe=generator.ask("make_probe", label=label)["probe"])
    return value
