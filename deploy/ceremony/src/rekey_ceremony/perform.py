"""The ceremony: one process per token; this one carries points, check values and probes between them.

For each key, in this order: the generator's half, the distributor's half, equal check values, a probe wrapped
by the one and opened by the other, the mark on the generator's token. A ceremony that dies anywhere is run
again and makes anew what has no mark; what has one is never made again, since blobs may lie under it.

An epoch joins the older ones in the same way while both services work: none of them counts a key as there whose ceremony is
not finished, and the mark on the record MAC key, the last of all, is what makes the generator wrap under the epoch.

Backup KEKs are made in the same way, between the generator's token, which may wrap, and the offline one, which opens.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.plan import CeremonyPlan, CeremonyReport, FoundedKey, TokenPlan, TokenReport
from rekey_ceremony.softhsm import CONFIGURATION, prepare
from rekey_core.errors import HsmError, StateRefusedError
from rekey_hsm import backup_label, kek_label, record_mac_label
from rekey_hsm.kinds import KINDS


def perform(plan: CeremonyPlan) -> CeremonyReport:
    """Initialise the tokens and give each its half of every key of the epoch; again is no change.

    Raises:
        HsmError: a token refuses, the sides do not agree, or a half that was founded is gone.
    """
    with ExitStack() as stack:
        generator = _side(stack, plan, "generator", plan.generator)
        distributor = _side(stack, plan, "distributor", plan.distributor)
        backup = _side(stack, plan, "backup", plan.backup) if plan.backup else None
        keys = _found(generator.process, distributor.process, _labels(plan))
        if backup is not None:
            keys += _found(generator.process, backup.process, _backup_labels(plan))
    return CeremonyReport(generator.report, distributor.report, keys, backup.report if backup else None)


def planned(plan: CeremonyPlan) -> CeremonyReport:
    """What ``perform`` would make; nothing is changed.

    Raises:
        HsmError: as ``perform``, as far as that can be told without making anything.
    """
    with ExitStack() as stack:
        generator = _found_side(stack, plan, "generator", plan.generator)
        distributor = _found_side(stack, plan, "distributor", plan.distributor)
        backup = _found_side(stack, plan, "backup", plan.backup) if plan.backup else None
        keys = _would_found(generator, distributor, _labels(plan))
        if backup is not None:
            keys += _would_found(generator, backup, _backup_labels(plan))
    return CeremonyReport(generator.report, distributor.report, keys, backup.report if backup else None)


@dataclass(frozen=True)
class _Side:
    process: SideProcess
    report: TokenReport


def _side(stack: ExitStack, plan: CeremonyPlan, role: str, token: TokenPlan) -> _Side:
    conf = prepare(token.directory)
    process = stack.enter_context(SideProcess(role, conf))
    answer = _open(process, plan, token)
    return _Side(process, TokenReport(token.label, answer["serial"], conf, made=bool(answer["made"])))


def _found_side(stack: ExitStack, plan: CeremonyPlan, role: str, token: TokenPlan) -> _Side:
    """The side of a token as it is; one that would have to be made is not opened."""
    conf = token.directory / CONFIGURATION
    process = stack.enter_context(SideProcess(role, conf))
    if not (conf.exists() and process.ask("look", module=str(plan.module), label=token.label)["there"]):
        return _Side(process, TokenReport(token.label, "", conf, made=True))
    return _Side(process, TokenReport(token.label, _open(process, plan, token)["serial"], conf, made=False))


def _would_found(generator: _Side, other: _Side, labels: tuple[str, ...]) -> tuple[FoundedKey, ...]:
    if generator.report.made or other.report.made:
        return tuple(FoundedKey(label, "", made=True) for label in labels)
    values = {label: _held(generator.process, other.process, label)[0] for label in labels}
    return tuple(FoundedKey(label, value, made=not value) for label, value in values.items())


def _labels(plan: CeremonyPlan) -> tuple[str, ...]:
    keks = (kek_label(plan.env, kind.release, kind.algorithms[0], plan.epoch) for kind in KINDS)
    return (*keks, record_mac_label(plan.env, plan.epoch))


def _backup_labels(plan: CeremonyPlan) -> tuple[str, ...]:
    return tuple(
        backup_label(plan.env, kind.release, kind.algorithms[0], plan.backup_epoch) for kind in KINDS
    )


def _open(side: SideProcess, plan: CeremonyPlan, token: TokenPlan) -> dict[str, str]:
    return side.ask(
        "open",
        role=side.role,
        module=str(plan.module),
        label=token.label,
        user_pin=token.user_pin.reveal().decode(),
        so_pin=token.so_pin.reveal().decode(),
    )


def _found(
    generator: SideProcess, distributor: SideProcess, labels: tuple[str, ...]
) -> tuple[FoundedKey, ...]:
    kept = {label: _kept(generator, distributor, label) for label in labels}
    if all(kept.values()):
        return tuple(FoundedKey(label, value, made=False) for label, value in kept.items())
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
    value, is_marked = _held(generator, distributor, label)
    if value and not is_marked:  # died between the proof and the mark
        generator.ask("mark", label=label, check_value=value)
    return value


def _held(generator: SideProcess, distributor: SideProcess, label: str) -> tuple[str, bool]:
    """The check value of a key that both tokens hold, and whether it is marked; empty when it is to be made.

    Raises:
        HsmError: it was founded, and something of it is gone or different.
        StateRefusedError: it is retired.
    """
    one, other = generator.ask("held", label=label), distributor.ask("held", label=label)
    if one["retired"] or other["retired"]:
        message = f"{label} is retired: what lay under it is destroyed, and it is never made again"
        raise StateRefusedError(message, hint="found an epoch that there has not been")
    if one["check_value"] and one["check_value"] == other["check_value"] and other["probe"]:
        return one["check_value"], bool(one["founded"])
    if one["founded"] or other["probe"]:
        message = f"{label} was founded and is not whole: generator {_says(one)}, distributor {_says(other)}"
        raise HsmError(message, hint="a half is lost for good: found the next epoch")
    return "", False


def _says(held: dict[str, str]) -> str:
    return f"check value {held['check_value']}" if held["check_value"] else "has no half"


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
    generator.ask("mark", label=label, check_value=value)
    return value
