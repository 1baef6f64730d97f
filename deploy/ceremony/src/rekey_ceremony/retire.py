"""The end of a KEK epoch, in two steps that can each be run again, whatever died.

``close``: the generator's wrapping halves are destroyed, so that nothing more comes under the epoch; then a word is made
that nobody could know before. ``retire``: a log that was asked for with that word, so read after it, shows that no version
lies under the epoch, or may (``rekey_core.census``); then the other halves are destroyed. The generator's record MAC key
stays until then: a record that a try left under the epoch is adopted with it.

On each token the mark comes before the destruction, so that services which work see a half that is retired, never one
that is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Final

from rekey_ceremony.log import CompleteLog
from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.plan import CeremonyPlan, Retirement
from rekey_ceremony.sides import found_side, held, kek_labels, labels
from rekey_core.census import hanging
from rekey_core.contracts import EpochEnd
from rekey_core.errors import NotFoundError, StateRefusedError
from rekey_core.fold import KeyState
from rekey_hsm import record_mac_label

MAX_NAMED: Final = 10  # versions in a refusal; rekey kek status names all


def close(plan: CeremonyPlan, reason: str, *, is_plan: bool = False) -> Retirement:
    """Destroy the halves that wrap under the plan's epoch; again is no change. ``is_plan``: only say which.

    Raises:
        StateRefusedError: there is no newer epoch that is whole.
        NotFoundError: the tokens never had the epoch.
        HsmError: a token refuses or fails.
    """
    keks, mac = kek_labels(plan.env, plan.epoch), record_mac_label(plan.env, plan.epoch)
    with _both(plan) as (generator, distributor):
        before = _left(plan, generator, distributor)
        going = tuple(half for half in before if half in _halves(generator, keks))
        if is_plan:
            return Retirement(plan.epoch, _challenge(generator, mac), going, before)
        for label in keks:
            generator.ask("retire", label=label, reason=reason)
        challenge = generator.ask("close", label=mac)["challenge"]
        return Retirement(plan.epoch, challenge, going, _left(plan, generator, distributor))


def retire(plan: CeremonyPlan, log: CompleteLog, reason: str, *, is_plan: bool = False) -> Retirement:
    """Destroy every half of the plan's epoch; again is no change. ``is_plan``: only say which.

    Raises:
        StateRefusedError: as ``close``; the epoch is not closed, the log was not read after that, or something lies there.
        NotFoundError, HsmError: as ``close``.
    """
    mac = record_mac_label(plan.env, plan.epoch)
    with _both(plan) as (generator, distributor):
        challenge = _challenge(generator, mac)
        check_log(log, challenge, plan.epoch)
        going = _left(plan, generator, distributor)
        if is_plan:
            return Retirement(plan.epoch, challenge, going, going)
        generator.ask("retire", label=mac, reason=reason)
        for label in labels(plan.env, plan.epoch):
            distributor.ask("retire", label=label, reason=reason)
        return Retirement(plan.epoch, challenge, going, _left(plan, generator, distributor))


def end_of(plan: CeremonyPlan, done: Retirement, log: CompleteLog, reason: str) -> EpochEnd:
    """What two trust officers sign, so that audit has it on record: the epoch has ended.

    Raises:
        StateRefusedError: a half is there.
    """
    if done.left:
        message = f"epoch {plan.epoch} has not ended: {', '.join(done.left)}"
        raise StateRefusedError(message, hint="the same command without --plan")
    return EpochEnd(
        env=plan.env,
        epoch=plan.epoch,
        challenge=done.challenge,
        as_of=log.as_of,
        reason=reason,
        at=datetime.now(UTC),
    )


def check_log(log: CompleteLog, challenge: str, epoch: int) -> None:
    """Return if the log was read after the epoch was closed, and shows that nothing lies under it.

    Raises:
        StateRefusedError: it is not so; names what lies there, or may.
    """
    if not challenge:
        message = f"epoch {epoch} is not closed: the generator may still wrap under it"
        raise StateRefusedError(message, hint="the same command without --log closes it")
    if log.challenge != challenge:
        message = f"the log was not read after epoch {epoch} was closed: expected {challenge}, found {log.challenge}"
        raise StateRefusedError(message, hint=f"python -m rekey_backup log --challenge {challenge} ...")
    require_none(log.states, epoch)


def require_none(states: Iterable[KeyState], epoch: int) -> None:
    """Return if no version lies under the epoch, or may. A key that cannot be decided may have any.

    Raises:
        StateRefusedError: one does, or there is no key at all, which proves nothing.
    """
    found, keys = [], 0
    for state in states:
        keys += 1
        found += [f"{state.key}, which cannot be decided"] if state.undecidable else []
        found += [lies.name for lies in hanging(state) if lies.is_under(epoch)]
    if not keys:
        raise StateRefusedError("the log names no key, so it proves nothing", hint="was it read in full?")
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        message = f"{len(found)} lie under epoch {epoch}, or may: {', '.join(found[:MAX_NAMED])}{more}"
        raise StateRefusedError(message, hint=f"rekey kek status --epoch {epoch}; then read the log again")


@contextmanager
def _both(plan: CeremonyPlan) -> Iterator[tuple[SideProcess, SideProcess]]:
    """The two sides, once it is sure that the plan's epoch is there and may end."""
    with ExitStack() as stack:
        sides = (
            found_side(stack, plan, "generator", plan.generator),
            found_side(stack, plan, "distributor", plan.distributor),
        )
        for side in sides:
            if side.report.made:
                raise NotFoundError(f"there is no token labelled {side.report.label}")
        generator, distributor = (side.process for side in sides)
        _require_known(plan, generator, distributor)
        _require_newer(plan, generator, distributor)
        yield generator, distributor


def _require_known(plan: CeremonyPlan, *sides: SideProcess) -> None:
    found = (side.ask("held", label=label) for side in sides for label in labels(plan.env, plan.epoch))
    if not any(half["check_value"] or half["retired"] for half in found):
        message = f"the tokens never had a half of epoch {plan.epoch} of {plan.env}"
        raise NotFoundError(message)


def _require_newer(plan: CeremonyPlan, generator: SideProcess, distributor: SideProcess) -> None:
    """What is newest is newer, and whole: every half of it is on its token, proved and marked."""
    prefix = record_mac_label(plan.env, plan.epoch).removesuffix(str(plan.epoch))
    newest = max(map(int, generator.ask("epochs", prefix=prefix)["epochs"].split()), default=0)
    if newest <= plan.epoch:
        message = f"epoch {plan.epoch} is the newest on the generator's token: nothing else is wrapped under"
        raise StateRefusedError(message, hint=f"python -m rekey_ceremony found --epoch {plan.epoch + 1} ...")
    for label in labels(plan.env, newest):
        if not all(held(generator, distributor, label)):
            message = f"{label} is not whole, so epoch {plan.epoch} has to stay"
            raise StateRefusedError(message, hint=f"python -m rekey_ceremony found --epoch {newest} ...")


def _challenge(generator: SideProcess, mac: str) -> str:
    return generator.ask("held", label=mac)["challenge"]


def _left(plan: CeremonyPlan, *sides: SideProcess) -> tuple[str, ...]:
    """Halves of the epoch that are there."""
    return tuple(half for side in sides for half in _halves(side, labels(plan.env, plan.epoch)))


def _halves(side: SideProcess, names: Iterable[str]) -> tuple[str, ...]:
    found = [label for label in names if side.ask("held", label=label)["check_value"]]
    return tuple(f"{side.role}'s half of {label}" for label in found)
