"""The processes of a ceremony, one per token, and what they say that their tokens hold of a key."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.plan import CeremonyPlan, TokenPlan, TokenReport
from rekey_ceremony.softhsm import CONFIGURATION, prepare
from rekey_core.errors import HsmError, StateRefusedError
from rekey_hsm import kek_label, record_mac_label
from rekey_hsm.kinds import KINDS


@dataclass(frozen=True)
class Side:
    """The process that has a token open, and the token."""

    process: SideProcess
    report: TokenReport


def made_side(stack: ExitStack, plan: CeremonyPlan, role: str, token: TokenPlan) -> Side:
    """The side of a token, which is made if it is not there.

    Raises:
        HsmError: a wrong PIN, no empty slot, or the module fails.
    """
    conf = prepare(token.directory)
    process = stack.enter_context(SideProcess(role, conf))
    answer = _open(process, plan, token)
    return Side(process, TokenReport(token.label, answer["serial"], conf, made=bool(answer["made"])))


def found_side(stack: ExitStack, plan: CeremonyPlan, role: str, token: TokenPlan) -> Side:
    """The side of a token as it is; one that is not there is ``made`` in the report, and is neither made nor opened."""
    conf = token.directory / CONFIGURATION
    process = stack.enter_context(SideProcess(role, conf))
    if not (conf.exists() and process.ask("look", module=str(plan.module), label=token.label)["there"]):
        return Side(process, TokenReport(token.label, "", conf, made=True))
    return Side(process, TokenReport(token.label, _open(process, plan, token)["serial"], conf, made=False))


def kek_labels(env: str, epoch: int) -> tuple[str, ...]:
    """Every KEK of an epoch."""
    return tuple(kek_label(env, kind.release, kind.algorithms[0], epoch) for kind in KINDS)


def labels(env: str, epoch: int) -> tuple[str, ...]:
    """Every key of an epoch. The record MAC key is founded last: its mark says that the epoch is whole."""
    return (*kek_labels(env, epoch), record_mac_label(env, epoch))


def held(generator: SideProcess, distributor: SideProcess, label: str) -> tuple[str, bool]:
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


def _says(found: dict[str, str]) -> str:
    return f"check value {found['check_value']}" if found["check_value"] else "has no half"


def _open(side: SideProcess, plan: CeremonyPlan, token: TokenPlan) -> dict[str, str]:
    return side.ask(
        "open",
        role=side.role,
        module=str(plan.module),
        label=token.label,
        user_pin=token.user_pin.reveal().decode(),
        so_pin=token.so_pin.reveal().decode(),
    )
