"""The ceremony: one process per token; this one carries points, check values and probes between them.

For each key, in this order: the generator's half, the distributor's half, equal check values, a probe wrapped
by the one and opened by the other, the mark on the generator's token. A ceremony that dies anywhere is run
again and makes anew what has no mark; what has one is never made again, since blobs may lie under it.

Backup KEKs are made in the same way, between the generator's token, which may wrap, and the offline one, which opens.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.plan import CeremonyPlan, CeremonyReport, FoundedKey, TokenPlan, TokenReport
from rekey_ceremony.softhsm import prepare
from rekey_core.errors import HsmError
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


@dataclass(frozen=True)
class _Side:
    process: SideProcess
    report: TokenReport


def _side(stack: ExitStack, plan: CeremonyPlan, role: str, token: TokenPlan) -> _Side:
    conf = prepare(token.directory)
    process = stack.enter_context(SideProcess(role, conf))
    answer = _open(process, plan, token)
    return _Side(process, TokenReport(token.label, answer["serial"], conf, made=bool(answer["made"])))


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
    """The check value of a key that both tokens hold, proved; empty when it is to be made.

    Raises:
        HsmError: it was founded, and something of it is gone or different.
    """
    one, other = generator.ask("held", label=label), distributor.ask("held", label=label)
    equal = bool(one["check_value"]) and one["check_value"] == other["check_value"]
    if equal and other["probe"]:
        if not one["founded"]:  # died between the proof and the mark
            generator.ask("mark", label=label, check_value=one["check_value"])
        return one["check_value"]
    if one["founded"] or other["probe"]:
        message = f"{label} was founded and is not whole: generator {_says(one)}, distributor {_says(other)}"
        raise HsmError(message, hint="a half is lost for good: found the next epoch")
    return ""


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
