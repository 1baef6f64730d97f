"""What a command would do, before it does it: key, owner, what changes, what does not, who is concerned. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from rekey.cli.errors import AnsweredError, UsageError
from rekey.cli.output import when
from rekey.cli.target import Target
from rekey_core.contracts import AdoptionAnswer, KeySummary, Register, Resumption, VersionSummary, Waiting
from rekey_core.errors import NotEnrolledError
from rekey_core.lifecycle import Trigger, VersionState, is_legal
from rekey_core.policy import check_registration, class_named
from rekey_core.preconditions import check_rotate, check_stop
from rekey_core.trust import Trust

_STOPPED: Final = frozenset({"suspended", "compromised", "destroyed", "destroyed-compromised"})


class PlannedDependent(BaseModel):
    """A dependent and its live instances."""

    model_config = ConfigDict(frozen=True)

    dependent: str
    live_instances: tuple[str, ...]


class Plan(BaseModel):
    """What would happen. ``hint`` is the command that makes it happen."""

    model_config = ConfigDict(frozen=True)

    verb: str
    key: str
    version: int | None
    owner: str
    changes: tuple[str, ...]
    unchanged: tuple[str, ...]
    dependents: tuple[PlannedDependent, ...]


def plan_register(command: Register, trust: Trust, existing: KeySummary | None) -> Plan:
    """A new key.

    Raises:
        AnsweredError: a key of this name is registered.
        NotEnrolledError: a dependent is not in the trust document.
        NotFoundError: no class of this name.
        PolicyError: a longer cryptoperiod than the class allows.
    """
    if existing is not None:
        text = f"{command.key}: registered already, by {existing.owner}"
        raise AnsweredError("already-exists", text, hint=f"rekey key show {command.key}")
    missing = [name for name in command.dependents if name not in trust.document.dependents]
    if missing:
        text = f"{command.key}: not enrolled: {', '.join(missing)}"
        raise NotEnrolledError(
            text, hint=f"enrolled are: {', '.join(sorted(trust.document.dependents)) or 'none'}"
        )
    kind = class_named(command.key_class)
    period = check_registration(command)
    return Plan(
        verb=command.VERB,
        key=command.key,
        version=1,
        owner=command.author,
        changes=(
            f"{command.key} exists: class {command.key_class}, {kind.algorithm}, release {kind.release}",
            f"version 1 is made in the HSM and becomes current; rotates every {days(period)}",
            f"may have it: {', '.join(sorted(command.dependents))}",
        ),
        unchanged=("every other key",),
        dependents=tuple(
            PlannedDependent(dependent=name, live_instances=()) for name in sorted(command.dependents)
        ),
    )


def plan_rotate(key: KeySummary, adoption: AdoptionAnswer) -> Plan:
    """A new version beside the present one.

    Raises:
        StateRefusedError: a rotation is under way.
    """
    check_rotate(key.key, _states(key), key.current)
    newest = max((version.version for version in key.versions), default=0)
    current = f"version {key.current}" if key.current else "no version"
    return Plan(
        verb="rotate",
        key=key.key,
        version=newest + 1,
        owner=key.owner,
        changes=(
            f"version {newest + 1} is made and given to every live instance",
            f"it becomes current when all of them have proved that they hold it ({current} is current now)",
            *(
                [f"version {key.current} is deactivated when nobody protects with it any more"]
                if key.current
                else []
            ),
        ),
        unchanged=(
            "nothing is re-encrypted: data under older versions stays as it is and stays readable",
            "no application restarts, none sees a version",
        ),
        dependents=_dependents(key, adoption),
    )


def plan_stop(verb: str, target: Target, key: KeySummary, adoption: AdoptionAnswer) -> Plan:
    """Suspend or revoke; ``adoption`` is of the version, if one is named.

    Raises:
        NotFoundError: there is no such version.
        StateRefusedError: none of them can be stopped so.
    """
    states = _states(key)
    if (
        target.version and adoption.version == target.version and adoption.state
    ):  # ``show`` names the newest versions alone
        states[target.version] = VersionState(adoption.state)
    stopped = check_stop(key.key, verb, target.version, states)
    names = ", ".join(f"version {number} ({states[number]})" for number in stopped)
    until = "until two people resume it" if verb == "suspend" else "for good: it is compromised"
    current = key.current is not None and target.version in (0, key.current)
    changes = (
        f"{names} stops {until}",
        "every instance refuses to encrypt, decrypt, sign and verify with it, from the moment that it hears of it",
        *(
            ["the key has no current version then: nothing can be protected until it is rotated"]
            if current
            else []
        ),
    )
    return _of_version(verb, target, key, adoption, changes, _unstopped(key, target))


def resumption(target: Target, adoption: AdoptionAnswer) -> Resumption:
    """What a resume of the version lifts and makes of it; ``adoption`` is of the version.

    Raises:
        AnsweredError: there is no such version, or it cannot be resumed.
    """
    back = adoption.resumption
    if back is None:
        if adoption.state == VersionState.SUSPENDED:
            text = f"{target} was suspended before it was made, there is nothing to resume"
            raise AnsweredError("state-refused", text, hint=f"rekey key rotate {target.key}")
        if adoption.state is None:
            raise AnsweredError("not-found", f"{target} does not exist", hint=f"rekey key show {target.key}")
        text = f"{target} is {adoption.state}, expected suspended"
        raise AnsweredError("state-refused", text, hint=f"rekey key history {target.key}")
    return back


def plan_resume(target: Target, key: KeySummary, adoption: AdoptionAnswer) -> Plan:
    """A suspended version back. Raises as ``resumption``."""
    back = resumption(target, adoption)
    becomes = {
        "active": "is active and current again: every instance protects and processes with it",
        "pre-activation": "is in pre-activation again: the rotation to it goes on",
        "deactivated": "is deactivated: every instance processes with it, and none protects",
    }
    changes = (
        f"version {target.version} (suspended) {becomes[back.state]}",
        "what was under it is read and verified again, once each instance has fetched it anew",
    )
    unchanged = (
        "a suspension that comes after what this was decided on stops it again",
        "a destruction that is scheduled goes on",
        "every other version, and every other key",
    )
    return _of_version("resume", target, key, adoption, changes, unchanged)


def plan_force(target: Target, key: KeySummary, adoption: AdoptionAnswer) -> Plan:
    """Go on without everybody who is missing. Raises AnsweredError as ``plan_waive``."""
    return _pass_over("force", target, key, adoption, _waiting(target, adoption).missing)


def plan_waive(
    target: Target, key: KeySummary, adoption: AdoptionAnswer, whom: tuple[str, str | None]
) -> Plan:
    """Go on without a dependent (and instance).

    Raises:
        AnsweredError: the version is not the one that a rotation is about, or somebody else is missing.
    """
    name = f"{whom[0]}/{whom[1] or ''}"
    missing = _waiting(target, adoption).missing
    named = tuple(who for who in missing if who.startswith(name))
    if not named:
        text = f"{target}: {name.rstrip('/')} is not waited for; missing: {', '.join(missing)}"
        raise AnsweredError("state-refused", text, hint=f"rekey adoption {target}")
    return _pass_over("waive", target, key, adoption, named)


def instance_of(target: Target, adoption: AdoptionAnswer, dependent: str, digits: str) -> str:
    """The instance whose id begins with these digits, as tables show them.

    Raises:
        UsageError: none of the dependent's live instances is it, or several are.
    """
    known = [i.instance for d in adoption.dependents if d.dependent == dependent for i in d.instances]
    found = [instance for instance in known if digits and instance.startswith(digits)]
    if len(found) != 1:
        text = f"--instance: expected the id of one live instance of {dependent}, found {digits[:32]!r}"
        raise UsageError(f"{text}; there are: {', '.join(known) or 'none'}", hint=f"rekey adoption {target}")
    return found[0]


def check_scheduled(target: Target, key: KeySummary, adoption: AdoptionAnswer) -> None:
    """What both people signed was sent before: whether it still counts.

    Raises:
        AnsweredError: it was cancelled since.
    """
    scheduled = any(v.version == target.version and v.destruction for v in key.versions)
    if scheduled or adoption.state in ("destroyed", "destroyed-compromised"):
        return
    text = (
        f"{target}: this body was sent before, and its destruction was cancelled since; nothing is scheduled"
    )
    raise AnsweredError("already-done", text, hint=f"rekey key history {target.key}; --out writes a new body")


def _waiting(target: Target, adoption: AdoptionAnswer) -> Waiting:
    if adoption.waiting is None or adoption.waiting.version != target.version:
        raise AnsweredError(
            "state-refused", f"{target}: nobody is waited for", hint=f"rekey adoption {target.key}"
        )
    return adoption.waiting


def _pass_over(
    verb: str, target: Target, key: KeySummary, adoption: AdoptionAnswer, missing: tuple[str, ...]
) -> Plan:
    changes = (
        f"version {target.version} ({adoption.state}) waits no longer for {', '.join(missing)}",
        "whoever is passed over may fail to process what the others protect, until it has caught up",
    )
    unchanged = (
        "everybody else is waited for as before",
        "whoever is passed over gets no other lease before it has proved the version",
    )
    return _of_version(verb, target, key, adoption, changes, unchanged)


def plan_destroy(
    target: Target, key: KeySummary, adoption: AdoptionAnswer, delay_s: int, now: datetime
) -> Plan:
    """A version gone for good; ``adoption`` is of the version.

    Raises:
        AnsweredError: there is no such version, it is in use or stopped, or its destruction is scheduled or done.
    """
    version = _version(target, key)
    if version.destruction is not None:
        text = f"{target} is destroyed not before {when(version.destruction)} already"
        raise AnsweredError("state-refused", text, hint=f"rekey key destroy-cancel {target}")
    if not is_legal(VersionState(version.state), Trigger.DESTROY):
        current = ", and current" if key.current == target.version else ""
        text = f"{target} is {version.state}{current}, expected pre-activation, deactivated or compromised"
        raise AnsweredError("state-refused", text, hint=f"rekey key show {target.key}")
    holders = [
        f"{dependent.dependent}/{instance.instance[:8]}"
        for dependent in adoption.dependents
        for instance in dependent.instances
        if instance.installed
    ]
    since, until = when(version.since), when(now + timedelta(seconds=delay_s))
    changes = (
        f"version {target.version} ({version.state} since {since}) is destroyed after {days(delay_s)}",
        f"if it is scheduled now, that can be cancelled until {until}",
        f"held now by {', '.join(holders) or 'no live instance'}: each removes it from its memory",
        f"what is under key id {version.key_id} cannot be read or verified any more, by anybody",
        "its wrapped blob is overwritten for good",
    )
    unchanged = (
        "until then it is used as before; a suspension holds the destruction up",
        "copies in the storage and backups of the bus are not claimed: certain when its KEK epoch dies",
        "every other version, and every other key",
    )
    return _of_version("destroy", target, key, adoption, changes, unchanged)


def plan_cancel(target: Target, key: KeySummary, adoption: AdoptionAnswer) -> Plan:
    """A destruction taken back.

    Raises:
        AnsweredError: there is no such version, or no destruction of it is scheduled.
    """
    version = _version(target, key)
    if version.destruction is None:
        text = f"{target} is {version.state}, and no destruction is scheduled"
        raise AnsweredError("state-refused", text, hint=f"rekey key show {target.key}")
    changes = (
        f"version {target.version} ({version.state}) is not destroyed",
        f"without this it is, not before {when(version.destruction)}",
    )
    unchanged = ("the state of the version, and who has it", "every other version, and every other key")
    return _of_version("destroy-cancel", target, key, adoption, changes, unchanged)


def _of_version(
    verb: str,
    target: Target,
    key: KeySummary,
    adoption: AdoptionAnswer,
    changes: tuple[str, ...],
    unchanged: tuple[str, ...],
) -> Plan:
    return Plan(
        verb=verb,
        key=key.key,
        version=target.version or None,
        owner=key.owner,
        changes=changes,
        unchanged=unchanged,
        dependents=_dependents(key, adoption),
    )


def _version(target: Target, key: KeySummary) -> VersionSummary:
    found = next((version for version in key.versions if version.version == target.version), None)
    if found is None:
        text = f"{target} does not exist"
        raise AnsweredError("not-found", text, hint=f"rekey key show {target.key}")
    return found


def _states(key: KeySummary) -> dict[int, VersionState]:
    return {version.version: VersionState(version.state) for version in key.versions}


def days(seconds: int) -> str:
    """A length of time for people."""
    for length, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % length == 0:
            return f"{seconds // length} {word}"
    return f"{seconds} s"


def _unstopped(key: KeySummary, target: Target) -> tuple[str, ...]:
    others = [v for v in key.versions if target.version not in (0, v.version) and v.state not in _STOPPED]
    kept = ", ".join(f"version {v.version} ({v.state})" for v in others)
    return (
        *([f"{kept} goes on"] if kept else []),
        "nothing is re-encrypted and nothing is destroyed",
        "every other key",
    )


def _dependents(key: KeySummary, adoption: AdoptionAnswer) -> tuple[PlannedDependent, ...]:
    live = {d.dependent: tuple(i.instance for i in d.instances) for d in adoption.dependents}
    return tuple(
        PlannedDependent(dependent=name, live_instances=live.get(name, ())) for name in key.dependents
    )


def lines(plan: Plan) -> Iterable[str]:
    """The plan in words."""
    target = plan.key if plan.verb in ("register", "rotate") else Target(plan.key, plan.version or 0)
    yield f"{plan.verb} {target}, owner {plan.owner}"
    yield "will change:"
    yield from (f"  {change}" for change in plan.changes)
    yield "will not change:"
    yield from (f"  {line}" for line in plan.unchanged)
    yield "dependents:"
    for dependent in plan.dependents:
        live = ", ".join(name[:8] for name in dependent.live_instances)
        yield f"  {dependent.dependent}: {f'{len(dependent.live_instances)} live ({live})' if live else 'no live instance'}"
