"""``rekey backup``: how the backups stand, as audit says it."""

from __future__ import annotations

from cyclopts import App

from rekey.cli.drills import backup_view, exit_code
from rekey.cli.kek import TRIES
from rekey.cli.output import show
from rekey.cli.parameters import Common
from rekey.cli.session import connected
from rekey_core.contracts import BackupAnswer

backup_app = App(name="backup", help="Backups: status.")


@backup_app.command(name="status")
async def backup_status(*, common: Common = Common()) -> int:
    """Show when a restore was last tried, until when that counts, and which versions it does not cover.

    Ends with 5 when a drill failed or is overdue, else with 0.

    Args:
        common: what every command takes.
    """
    async with connected(common.who()) as session:
        answer = await session.ask(BackupAnswer, tries=TRIES)
    show(backup_view(answer), common.output)
    return exit_code(answer)
