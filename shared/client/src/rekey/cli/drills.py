"""What audit says of backups: as data and table, as a line of the doctor, as an exit code. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from rekey.cli.checkup import EXPIRES_SOON_DAYS, Line, fail, ok, warn
from rekey.cli.errors import Exit
from rekey.cli.output import View, head_lines, text, when
from rekey_core.contracts import BackupAnswer

FIX: Final = "try a restore with two officers: rekey backup restore --drill (deploy/backup/README.md)"


def backup_view(answer: BackupAnswer) -> View:
    """``backup status``: how the backups stand, and one row for each version that the last drill does not prove."""
    data = answer.model_dump(mode="json", exclude={"type", "env", "person", "nonce"})
    drill = answer.drill
    lines = {"status": answer.status, "proved until" if drill else "first drill due": when(answer.due)}
    if drill is not None:
        lines |= {
            "last drill": when(drill.at),
            "attested by": text(drill.officers),
            "restored": f"{drill.restored} of {drill.checked}, from backup KEK epochs {text(drill.backup_epochs)}",
            "covers": f"the log up to {drill.log}: {answer.covered} versions",
            "wrong": "; ".join(drill.failures)
            + (f" and {drill.more_failures} more" if drill.more_failures else "")
            or "-",
        }
    lines["not covered"] = f"{answer.uncovered_in_all} versions, {len(answer.uncovered)} shown"
    cells = tuple((one.key, str(one.version), one.why) for one in answer.uncovered)
    return View(data, ("key", "version", "why") if cells else (), cells, head_lines(lines))


def backup_line(answer: BackupAnswer) -> Line:
    """For ``rekey doctor``. Keys work with backups that nobody proved, so only one that cannot be restored has failed."""
    until, drill = when(answer.due), answer.drill
    if answer.status == "failed" and drill is not None:
        wrong = f"restored {drill.restored} of {drill.checked}"
        return fail(f"backups: the drill of {when(drill.at)} {wrong}", FIX, Exit.PRECONDITION)
    if answer.status == "overdue" or drill is None:
        if answer.due is None:
            return ok("backups: none yet")
        last = f"the last drill was at {when(drill.at)}" if drill else "no restore was tried yet"
        said = f"backups: {last}, one is due by {until}"
        return warn(said, FIX) if answer.status == "overdue" else ok(said)
    said = f"backups: {answer.covered} versions are proved until {until}"
    soon = drill.expires_at - answer.at < timedelta(days=EXPIRES_SOON_DAYS)
    return warn(said, FIX) if soon else ok(said)


def exit_code(answer: BackupAnswer) -> Exit:
    """Of ``backup status``: a drill that failed or is overdue is for scripts to see."""
    return Exit.PRECONDITION if answer.status in {"failed", "overdue"} else Exit.DONE
