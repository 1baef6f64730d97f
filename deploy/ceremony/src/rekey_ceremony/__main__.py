"""``python -m rekey_ceremony found|retire …``: see ``--help``. The report is JSON on stdout, words are on stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

from rekey_ceremony.perform import perform, planned
from rekey_ceremony.settings import read_plan
from rekey_core.errors import RefusedError, RekeyError

_FAILED: Final = 1
_REFUSED: Final = 4


def main(arguments: list[str]) -> int:
    """The command line: 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args(arguments)
    try:
        report = _found(options)
    except RekeyError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return _REFUSED if isinstance(error, RefusedError) else _FAILED
    sys.stdout.write(json.dumps(report, default=str, indent=2) + "\n")
    return 0


def _found(options: argparse.Namespace) -> dict[str, object]:
    plan = read_plan(options.settings, options.epoch)
    return dataclasses.asdict(planned(plan) if options.plan else perform(plan))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rekey_ceremony", description="KEK epochs on the tokens")
    actions = parser.add_subparsers(dest="action", required=True)
    found = actions.add_parser("found", help="give both tokens their halves of an epoch; again is no change")
    found.add_argument("--settings", type=Path, required=True, help="the tokens, a JSON file")
    found.add_argument(
        "--epoch", type=_epoch, required=True, help="the first is 1; a roll-over founds the next"
    )
    found.add_argument("--plan", action="store_true", help="say what would be made; nothing is changed")
    return parser


def _epoch(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"expected a number from 1 on, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
