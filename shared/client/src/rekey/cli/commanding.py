"""Commands of people, from the order to the result: plan, confirm, sign, publish, follow.

Stops (suspend, revoke) never depend on audit: no single service may silence a responder. Where audit does not answer
they go out all the same, and the result says that nobody has confirmed them yet.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rekey.cli import plans, waiting
from rekey.cli.confirm import is_interactive, need_yes, typed
from rekey.cli.cosigning import Papers, write_body
from rekey.cli.errors import AnsweredError, UsageError
from rekey.cli.output import View, tell
from rekey.cli.session import Accepted, Session
from rekey.cli.signing import build, build_of, sign
from rekey.cli.target import Target
from rekey.cli.views import plan_view, result_view
from rekey_core.commands import check_author
from rekey_core.contracts import (
    AdoptionAnswer,
    CancelDestruction,
    Command,
    CommandAnswer,
    Destroy,
    Force,
    KeySummary,
    Register,
    Resume,
    Revoke,
    Rotate,
    ShowAnswer,
    Suspend,
    Waive,
)
from rekey_core.errors import RefusedError, UnavailableError
from rekey_core.policy import destruction_delay_s

INSTANCE_DIGITS: Final = 32

_STOPS: Final[dict[str, type[Suspend | Revoke]]] = {"suspend": Suspend, "revoke": Revoke}


@dataclass(frozen=True)
class Order:
    """What every command that changes something is told. ``wait_s`` in seconds; none: only until it is decided.

    Raises:
        UsageError: a time to wait that never ends, or is below 0.
    """

    target: Target
    reason: str
    plan: bool
    wait_s: float | None

    def __post_init__(self) -> None:
        if self.wait_s is not None and not (math.isfinite(self.wait_s) and self.wait_s >= 0):
            message = f"--wait: expected a number of seconds from 0 on, found {self.wait_s:g}"
            raise UsageError(message, hint="leave --wait out to return once the command is decided")


@dataclass(frozen=True)
class Registration:
    """What a registration says beside the name. ``cryptoperiod_s``: none takes the class's."""

    key_class: str
    dependents: tuple[str, ...]
    purpose: str
    cryptoperiod_s: int | None


def parse_identity(text: str) -> str:
    """The id of a command.

    Raises:
        UsageError: it is none.
    """
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        message = f"ID: expected the 64 hexadecimal digits that a command printed, found {text[:80]!r}"
        raise UsageError(message, hint="rekey key history KEY names whose commands changed a key")
    return text


async def register(session: Session, order: Order, wanted: Registration) -> View:
    """Register a key. Raises what the service refused it with."""
    command = build(
        Register,
        session.context,
        key=order.target.key,
        reason=order.reason,
        key_class=wanted.key_class,
        purpose=wanted.purpose,
        dependents=wanted.dependents,
        cryptoperiod_s=wanted.cryptoperiod_s,
    )
    if order.plan:
        check_author(command, session.trust.current)
        existing = await _existing(session, order.target.key)
        return plan_view(plans.plan_register(command, session.trust.current, existing))
    accepted = await _publish(session, command)
    decided = await _decided(session, accepted)
    if order.wait_s is not None:
        hint = f"rekey adoption {order.target.key}"
        await waiting.Deadline(order.wait_s).until(waiting.active(session, order.target.key, 1), hint=hint)
    return _result(command, accepted, decided, 1)


async def rotate(session: Session, order: Order, deadline_s: int | None = None) -> View:
    """Rotate a key; ``deadline_s``: sooner than the class's. Raises what the service refused it with."""
    key = order.target.key
    command = build(Rotate, session.context, key=key, reason=order.reason, deadline_s=deadline_s)
    if order.plan:
        check_author(command, session.trust.current)
        shown, adoption = await _known(session, key)
        return plan_view(plans.plan_rotate(shown, adoption))
    accepted = await _publish(session, command)
    deadline = waiting.Deadline(order.wait_s or 0.0)
    decided = await _decided(session, accepted)
    if decided is None and deadline.left_s > 0:
        decided = await waiting.decision(session, accepted.command, deadline.left_s)
    version = max((entry.version for entry in decided.facts), default=0) if decided else 0
    if order.wait_s is not None:
        if not version:
            text = f"{key}: the rotation is accepted, and nobody has decided it"
            raise UnavailableError(text, hint=f"rekey command {accepted.command}")
        await deadline.until(waiting.active(session, key, version), hint=f"rekey adoption {key}")
    return _result(command, accepted, decided, version)


async def waive(session: Session, order: Order, dependent: str, instance: str | None) -> View:
    """Wait no longer for somebody. Raises what the service refused it with."""
    target = order.target
    if instance is not None and len(instance) < INSTANCE_DIGITS:  # as tables show it
        adoption = await session.ask(AdoptionAnswer, target.key, version=target.version)
        instance = plans.instance_of(target, adoption, dependent, instance)
    whom = {"dependent": dependent, "instance": instance}
    command = build_of(Waive, session.context, target, order.reason, **whom)
    if order.plan:
        check_author(command, session.trust.current)
        shown, adoption = await _known(session, target.key)
        return plan_view(plans.plan_waive(target, shown, adoption, (dependent, instance)))
    return await _followed(session, order, command, await _publish(session, command))


async def force(session: Session, order: Order, papers: Papers) -> View:
    """Go on without those who are missing. Raises what the service refused it with, and as ``Papers.together``."""
    target = order.target
    if order.plan:
        shown, adoption = await _known(session, target.key)
        return plan_view(plans.plan_force(target, shown, adoption))
    command, accepted = await _together(session, papers, Force, target)
    return await _followed(session, order, command, accepted)


async def _followed(session: Session, order: Order, command: Command, accepted: Accepted) -> View:
    """Until it is decided, and with ``--wait`` until the rotation to the version is complete."""
    target = order.target
    decided = await _decided(session, accepted)
    if order.wait_s is not None:
        complete = waiting.active(session, target.key, target.version)
        await waiting.Deadline(order.wait_s).until(complete, hint=f"rekey adoption {target}")
    return _result(command, accepted, decided, target.version)


async def destroy(session: Session, order: Order, papers: Papers, **fields: Any) -> View:  # noqa: ANN401 - the model types them
    """Schedule the destruction of a version. Raises as ``force``."""
    target = order.target
    if order.plan:
        shown, adoption = await _known(session, target.key, version=target.version)
        development = session.trust.current.is_development
        delay_s = destruction_delay_s(shown.key_class, fields.get("delay_s"), development=development)
        return plan_view(plans.plan_destroy(target, shown, adoption, delay_s, datetime.now(UTC)))
    command, accepted = await _together(session, papers, Destroy, target, **fields)
    decided = await _decided(session, accepted)
    if accepted.sequence is None and decided is not None:  # what came of it then may be over
        shown, adoption = await _known(session, target.key, version=target.version)
        plans.check_scheduled(target, shown, adoption)
    if order.wait_s is not None:
        hint = f"rekey key show {target.key} says from when on; rekey adoption {target} who has it still"
        waited = waiting.destroyed(session, target.key, target.version)
        await waiting.Deadline(order.wait_s).until(waited, hint=hint)
    return _result(command, accepted, decided, target.version)


async def cancel_destruction(session: Session, order: Order) -> View:
    """Take the destruction of a version back: what its author sees now must be how things are.

    Raises what the service refused it with.
    """
    target = order.target
    shown, adoption = await _known(session, target.key, version=target.version)
    plan = plans.plan_cancel(target, shown, adoption)
    command = build_of(CancelDestruction, session.context, target, order.reason, seen=shown.as_of)
    if order.plan:
        check_author(command, session.trust.current)
        return plan_view(plan)
    accepted = await _publish(session, command)
    return _result(command, accepted, await _decided(session, accepted), target.version)


async def resume(session: Session, order: Order, papers: Papers) -> View:
    """Lift the suspension of a version: what its author sees now must still be how things are when it is decided.

    Raises as ``force``, and:
        AnsweredError: the version cannot be resumed, or the key has changed since the body was written.
    """
    target = order.target
    shown, adoption = await _known(session, target.key, version=target.version)
    if order.plan:
        return plan_view(plans.plan_resume(target, shown, adoption))
    said = {"seen": shown.as_of, "lifts": plans.resumption(target, adoption).lifts}
    if papers.out:
        return write_body(Resume, session.context, papers, target, **said)
    body = papers.command
    if isinstance(body, Resume) and body.seen != shown.as_of:
        text = f"{target}: {papers.body} saw {target.key} as of {body.seen}, it is as of {shown.as_of}"
        hint = f"look again and write another: rekey resume {target} --reason WHY --out BODY"
        raise AnsweredError("state-refused", text, hint=hint)
    command, accepted = await _together(session, papers, Resume, target, **said)
    decided = await _decided(session, accepted)
    if order.wait_s is not None:
        waited = waiting.resumed(session, target.key, target.version)
        await waiting.Deadline(order.wait_s).until(waited, hint=f"rekey adoption {target}")
    return _result(command, accepted, decided, target.version)


async def _together(
    session: Session,
    papers: Papers,
    model: type[Command],
    target: Target,
    **fields: Any,  # noqa: ANN401 - the model types them
) -> tuple[Command, Accepted]:
    """Publish what both people signed."""
    wanted = build_of(model, session.context, target, "as the body says", **fields)
    command, signed = papers.together(wanted, session.context, session.trust.current)
    return command, await session.publish(command, signed)


def check_confirmable(verb: str, order: Order, *, yes: bool) -> None:
    """Before anything is sent or even connected. Raises NotConfirmedError."""
    if not order.plan:
        need_yes(verb, yes=yes)


async def stop(session: Session, verb: str, order: Order, *, yes: bool) -> View:
    """Suspend or revoke. Raises what the services refused it with."""
    target = order.target
    command = build_of(_STOPS[verb], session.context, target, order.reason)
    if order.plan:
        check_author(command, session.trust.current)
        shown, adoption = await _known(session, target.key, version=target.version or None)
        return plan_view(plans.plan_stop(verb, target, shown, adoption))
    if not yes and is_interactive():
        tell(*await _what_stops(session, verb, target))
        typed(verb, target)
    accepted = await _publish(session, command)
    decided = await _decided(session, accepted)
    if order.wait_s is not None:
        versions = await _versions(session, target)
        hint = f"rekey adoption {target}; leases end what an unreachable instance can still do"
        await waiting.Deadline(order.wait_s).until(waiting.stopped(session, target.key, versions), hint=hint)
    return _result(command, accepted, decided, target.version)


async def _publish(session: Session, command: Command) -> Accepted:
    return await session.publish(command, sign(command, session.context))


async def _decided(session: Session, accepted: Accepted) -> CommandAnswer | None:
    decided = await waiting.decision(session, accepted.command)
    if decided is None:
        tell(
            "accepted by the log; nobody has said yet what became of it",
            f"hint: rekey command {accepted.command}",
        )
    return decided


def _result(command: Command, accepted: Accepted, decided: CommandAnswer | None, version: int) -> View:
    progress = (
        f"rekey adoption {Target(command.key, version)}" if version else f"rekey command {accepted.command}"
    )
    return result_view(
        {
            "command": accepted.command,
            "verb": command.VERB,
            "key": command.key,
            "version": version or None,
            "status": "done" if decided else "accepted",
            "sequence": accepted.sequence,
            "trace": accepted.trace,
            "progress": progress,
        }
    )


async def _known(
    session: Session, key: str, tries: int = 3, version: int | None = None
) -> tuple[KeySummary, AdoptionAnswer]:
    shown = await session.ask(ShowAnswer, key, version=version, tries=tries)
    return shown.key, await session.ask(AdoptionAnswer, key, version=version, tries=tries)


async def _existing(session: Session, key: str) -> KeySummary | None:
    try:
        return (await session.ask(ShowAnswer, key)).key
    except AnsweredError as error:
        if error.code != "not-found":
            raise
        return None


async def _what_stops(session: Session, verb: str, target: Target) -> tuple[str, ...]:
    try:
        shown, adoption = await _known(session, target.key, tries=1, version=target.version or None)
        return tuple(plans.lines(plans.plan_stop(verb, target, shown, adoption)))
    except (UnavailableError, AnsweredError, RefusedError) as error:  # audit's word keeps no responder off
        return (f"{verb} {target}: what it concerns is not known now ({error})",)


async def _versions(session: Session, target: Target) -> tuple[int, ...]:
    if target.version:
        return (target.version,)
    return tuple(version.version for version in (await session.ask(ShowAnswer, target.key)).key.versions)
