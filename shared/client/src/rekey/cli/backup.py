"""``rekey backup``: how the backups stand, as audit says it; and the program of those who keep the offline token.

That program knows PKCS#11, which the command line does not. Where it is installed it names itself by an entry point, and
gets the words as they are typed; what it raises is said, and ended with, as everything else here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Final

from cyclopts import App, Parameter

from rekey.cli.drills import backup_view, exit_code
from rekey.cli.errors import UsageError
from rekey.cli.kek import TRIES
from rekey.cli.output import show
from rekey.cli.parameters import Common
from rekey.cli.session import connected
from rekey_core.contracts import BackupAnswer

PROGRAM: Final = "rekey.backup"  # the group of entry points
WORDS: Final[Mapping[str, str]] = {
    "export": "Read facts and backups from the bus into a file.",
    "log": "Read every fact from the bus into a file, for the end of a KEK epoch.",
    "verify": "Open every backup in the offline token and hold it against the log.",
    "order": "Write the order for a drill or a restore, for two officers to sign.",
    "restore": "Restore after both tokens are lost; with --drill try it into fresh tokens in a sandbox.",
    "attest": "Give the officers' attestation of a drill to audit, which records it.",
    "check": "Say until when the officers' attestation holds.",
    "import": "Give what restore has written to the generator.",
}

backup_app = App(
    name="backup", help="Backups: status; and, where the offline token is, verify, restore and more."
)


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


def program() -> Callable[[Sequence[str]], int]:
    """The program of those who keep the offline token.

    Raises:
        UsageError: it is not installed here.
    """
    for found in entry_points(group=PROGRAM):
        loaded: Callable[[Sequence[str]], int] = found.load()
        return loaded
    message = "the backup program is not installed beside this command line"
    raise UsageError(
        message, hint="use the environment of the backup program: .rekey/env/backup/bin/rekey backup ..."
    )


def _handed_on(word: str, help_: str) -> App:
    """A verb whose words, --help included, are the program's to read."""
    verb = App(name=word, help=help_, help_flags=[], version_flags=[])

    @verb.default
    def run(*words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]) -> int:
        return program()([word, *words])

    return verb


for _word, _help in WORDS.items():
    backup_app.command(_handed_on(_word, _help))
