"""The verbs of ``rekey``: each parses, asks or commands, and shows. What is typed stands here, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from rekey.cli import commanding, cosigning, views
from rekey.cli.backup import backup_app
from rekey.cli.checkup import checkup_view, exit_code
from rekey.cli.doctor import examine
from rekey.cli.errors import UsageError
from rekey.cli.kek import TRIES, status_view
from rekey.cli.kek import exit_code as kek_exit_code
from rekey.cli.output import show, tell
from rekey.cli.parameters import Common, Cosigned, Mutating
from rekey.cli.session import connected
from rekey.cli.target import Target, parse_name, parse_target, parse_version
from rekey_core.contracts import (
    AdoptionAnswer,
    CommandAnswer,
    Destroy,
    Force,
    HistoryAnswer,
    KekAnswer,
    KeySummary,
    ListAnswer,
    ShowAnswer,
)

app = App(
    name="rekey",
    help="Keys that rotate without being noticed: register, rotate, stop and watch them.",
    help_epilogue=(
        "Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 denied, 5 precondition, 6 accepted but not complete "
        "in time, 7 backend unreachable, 8 verification failed, 130 interrupted."
    ),
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # __main__ says what an interruption leaves behind
)
key_app = App(
    name="key", help="Keys: register, ls, show, history, rotate, waive, force, destroy, destroy-cancel."
)
app.command(key_app)
kek_app = App(name="kek", help="KEKs, under which versions lie wrapped: status.")
app.command(kek_app)
app.command(backup_app)


@key_app.command(name="register")
async def key_register(
    key: str,
    /,
    *,
    key_class: Annotated[str, Parameter(name="--class")],
    dependent: Annotated[list[str], Parameter(consume_multiple=True, negative="")],
    purpose: str,
    reason: str,
    cryptoperiod: int | None = None,
    common: Mutating = Mutating(),
) -> None:
    """Register a key, its class and the dependents that may have it.

    Args:
        key: name of the key.
        key_class: how it is protected and how often it changes, e.g. application-data or token-signing.
        dependent: a service that may have it; may be repeated.
        purpose: what it is for.
        reason: why, for the history.
        cryptoperiod: seconds until it rotates, if shorter than the class's.
        common: what every command takes.
    """
    name = parse_name(key)
    wanted = commanding.Registration(
        key_class, tuple(parse_name(d, what="--dependent") for d in dependent), purpose, cryptoperiod
    )
    order = commanding.Order(Target(name), reason, plan=common.plan, wait_s=common.wait)
    async with connected(common.who()) as session:
        show(await commanding.register(session, order, wanted), common.output)


@key_app.command(name="ls")
async def key_ls(*, common: Common = Common()) -> None:
    """List the keys in your scope."""
    keys: list[KeySummary] = []
    async with connected(common.who()) as session:
        while answer := (await session.ask(ListAnswer, keys[-1].key if keys else None)).keys:
            keys += answer
    show(views.keys_view(keys), common.output)


@key_app.command(name="show")
async def key_show(key: str, /, *, common: Common = Common()) -> None:
    """Show a key and its versions.

    Args:
        key: name of the key.
        common: what every command takes.
    """
    name = parse_name(key)
    async with connected(common.who()) as session:
        answer = await session.ask(ShowAnswer, name)
    show(views.key_view(answer.key, answer.waiting), common.output)


@key_app.command(name="history")
async def key_history(key: str, /, *, common: Common = Common()) -> None:
    """Show what happened to a key, who decided it and on whose command.

    Args:
        key: name of the key.
        common: what every command takes.
    """
    name = parse_name(key)
    async with connected(common.who()) as session:
        answer = await session.ask(HistoryAnswer, name)
    if answer.truncated:
        tell(f"{name}: older entries than the {len(answer.entries)} newest are left out")
    show(views.history_view(answer), common.output)


@key_app.command(name="rotate")
async def key_rotate(
    key: str, /, *, reason: str, deadline: int | None = None, common: Mutating = Mutating()
) -> None:
    """Rotate a key now: a new version is made, proved everywhere, then used. Nothing is re-encrypted.

    Args:
        key: name of the key.
        reason: why, for the history.
        deadline: seconds until whoever has not followed is said to be missing, if sooner than the class's.
        common: what every command takes.
    """
    order = commanding.Order(Target(parse_name(key)), reason, plan=common.plan, wait_s=common.wait)
    async with connected(common.who()) as session:
        show(await commanding.rotate(session, order, deadline), common.output)


@key_app.command(name="waive")
async def key_waive(
    target: Annotated[str, Parameter(name="KEY@VERSION")],
    /,
    *,
    dependent: str,
    reason: str,
    instance: str | None = None,
    common: Mutating = Mutating(),
) -> None:
    """Wait no longer for a dependent, or one instance of it, in the rotation to a version whose deadline has passed.

    Args:
        target: the version that the rotation is about.
        dependent: who is not waited for.
        reason: why, for the history.
        instance: only this instance of it.
        common: what every command takes.
    """
    order = commanding.Order(parse_version(target), reason, plan=common.plan, wait_s=common.wait)
    whom = parse_name(dependent, what="--dependent")
    async with connected(common.who()) as session:
        show(await commanding.waive(session, order, whom, instance), common.output)


@key_app.command(name="force")
async def key_force(
    target: Annotated[str, Parameter(name="KEY@VERSION")], /, *, common: Cosigned = Cosigned()
) -> None:
    """Go on with the rotation to a version without the instances that are missing. Needs two people.

    Args:
        target: the version that the rotation is about.
        common: what every command of two people takes.
    """
    wanted = parse_version(target)
    order = commanding.Order(wanted, common.reason or "", plan=common.plan, wait_s=common.wait)
    papers = cosigning.Papers.of(common, f"key force {wanted}")
    if papers.out:
        show(cosigning.write_body(Force, common.who(), papers, wanted), common.output)
        return
    async with connected(common.who()) as session:
        show(await commanding.force(session, order, papers), common.output)


@key_app.command(name="destroy")
async def key_destroy(
    target: Annotated[str, Parameter(name="KEY@VERSION")],
    /,
    *,
    delay: int | None = None,
    common: Cosigned = Cosigned(),
) -> None:
    """Destroy a version for good, after a delay in which that can be cancelled. Needs two people.

    Args:
        target: a version that is deactivated, compromised or not active yet.
        delay: seconds in which it can be cancelled, if longer than the class's.
        common: what every command of two people takes.
    """
    wanted = parse_version(target)
    order = commanding.Order(wanted, common.reason or "", plan=common.plan, wait_s=common.wait)
    papers = cosigning.Papers.of(common, f"key destroy {wanted}")
    fields = {"delay_s": delay} if delay is not None else {}
    if papers.out:
        show(cosigning.write_body(Destroy, common.who(), papers, wanted, **fields), common.output)
        return
    async with connected(common.who()) as session:
        show(await commanding.destroy(session, order, papers, **fields), common.output)


@key_app.command(name="destroy-cancel")
async def key_destroy_cancel(
    target: Annotated[str, Parameter(name="KEY@VERSION")], /, *, reason: str, common: Mutating = Mutating()
) -> None:
    """Cancel a destruction while its delay runs. When nobody answers, suspend the version: that holds it up.

    Args:
        target: the version that is to be destroyed.
        reason: why, for the history.
        common: what every command takes.
    """
    order = commanding.Order(parse_version(target), reason, plan=common.plan, wait_s=common.wait)
    async with connected(common.who()) as session:
        show(await commanding.cancel_destruction(session, order), common.output)


@kek_app.command(name="status")
async def kek_status(*, epoch: int | None = None, common: Common = Common()) -> int:
    """Show how many versions lie under which KEK epoch, and which still hang under an old one.

    Ends with 0 when none does, with 5 otherwise.

    Args:
        epoch: the one that is to be retired; without it, every epoch before the newest.
        common: what every command takes.
    """
    if epoch is not None and epoch < 1:
        raise UsageError(f"--epoch: expected a number from 1 on, found {epoch}", hint="rekey kek status")
    async with connected(common.who()) as session:
        answer = await session.ask(KekAnswer, epoch=epoch, tries=TRIES)
    show(status_view(answer), common.output)
    return kek_exit_code(answer)


@app.command
async def sign(
    body: Path, /, *, yes: Annotated[bool, Parameter(negative="")] = False, common: Common = Common()
) -> None:
    """Sign, as the second person, what another one wrote with --out: shows it, asks, and writes BODY.sig.

    Args:
        body: the file.
        yes: do not ask for a typed confirmation.
        common: what every command takes.
    """
    show(cosigning.sign_body(body, common.who(), yes=yes), common.output)


@app.command
async def adoption(
    target: Annotated[str, Parameter(name="KEY[@VERSION]")], /, *, common: Common = Common()
) -> None:
    """Show which live instances have proved what of a version: the one in motion, else the current one.

    Args:
        target: a key, or one version of it.
        common: what every command takes.
    """
    asked = parse_target(target)
    async with connected(common.who()) as session:
        answer = await session.ask(AdoptionAnswer, asked.key, version=asked.version or None)
    show(views.adoption_view(answer), common.output)


@app.command
async def doctor(*, common: Common = Common()) -> int:
    """Look at everything between you and your keys: one line each, and what to do about it.

    Ends with 0 when nothing failed, warnings or not; else with the code of the first line that did.

    Args:
        common: what every command takes.
    """
    lines = await examine(common.who())
    show(checkup_view(lines), common.output)
    return exit_code(lines)


@app.command
async def command(identity: Annotated[str, Parameter(name="ID")], /, *, common: Common = Common()) -> None:
    """Show what became of a command.

    Args:
        identity: the id that the command printed.
        common: what every command takes.
    """
    async with connected(common.who()) as session:
        answer = await session.ask(CommandAnswer, command=commanding.parse_identity(identity))
    show(views.command_view(answer), common.output)


@app.command
async def suspend(
    target: Annotated[str, Parameter(name="KEY[@VERSION]")],
    /,
    *,
    reason: str,
    yes: Annotated[bool, Parameter(negative="")] = False,
    common: Mutating = Mutating(),
) -> None:
    """Stop a version, or every version of a key. Every instance refuses it at once, until two people resume it.

    What is under it is unreadable until then; ``rekey key rotate`` puts another version in its place.

    Args:
        target: a key, or one version of it.
        reason: why, for the history and for everybody who is refused.
        yes: do not ask for a typed confirmation.
        common: what every command takes.
    """
    await _stop("suspend", target, reason, yes=yes, common=common)


@app.command
async def resume(
    target: Annotated[str, Parameter(name="KEY@VERSION")], /, *, common: Cosigned = Cosigned()
) -> None:
    """Lift the suspension of a version: every instance uses it again. Needs two people.

    Args:
        target: a version that is suspended.
        common: what every command of two people takes.
    """
    wanted = parse_version(target)
    order = commanding.Order(wanted, common.reason or "", plan=common.plan, wait_s=common.wait)
    papers = cosigning.Papers.of(common, f"resume {wanted}")
    async with connected(common.who()) as session:
        show(await commanding.resume(session, order, papers), common.output)


@app.command
async def revoke(
    target: Annotated[str, Parameter(name="KEY[@VERSION]")],
    /,
    *,
    reason: str,
    yes: Annotated[bool, Parameter(negative="")] = False,
    common: Mutating = Mutating(),
) -> None:
    """Declare a version, or every version of a key, compromised, for good. Every instance refuses it at once.

    Args:
        target: a key, or one version of it.
        reason: why, for the history and for everybody who is refused.
        yes: do not ask for a typed confirmation.
        common: what every command takes.
    """
    await _stop("revoke", target, reason, yes=yes, common=common)


async def _stop(verb: str, target: str, reason: str, *, yes: bool, common: Mutating) -> None:
    order = commanding.Order(parse_target(target), reason, plan=common.plan, wait_s=common.wait)
    commanding.check_confirmable(verb, order, yes=yes)
    async with connected(common.who()) as session:
        show(await commanding.stop(session, verb, order, yes=yes), common.output)
