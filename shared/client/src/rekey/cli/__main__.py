"""The process ``rekey``: runs one verb, says what went wrong and what to do next, ends with the code that says it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from rekey.cli.app import app
from rekey.cli.errors import Exit, exit_of, hint_of
from rekey.cli.output import tell
from rekey_core.errors import RekeyError


def run(arguments: Sequence[str]) -> Exit:
    """One command line; its exit code. What is typed wrongly, refused or unreachable is said on standard error."""
    try:
        app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        tell(*f"rekey: {error}".splitlines(), "hint: rekey --help, or --help after a command")
        return Exit.USAGE
    except RekeyError as error:
        tell(f"rekey: {error.code}: {error}", f"hint: {hint_of(error)}")
        return exit_of(error)
    except KeyboardInterrupt:
        tell("rekey: interrupted; a command that was accepted goes on")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.FAILURE  # whoever read our data went away
    return Exit.DONE


def main() -> None:
    """Entry point of the distribution."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is not for people
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
