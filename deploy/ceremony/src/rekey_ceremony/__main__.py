"""``python -m rekey_ceremony found|retire …``: see ``--help``. The report is JSON on stdout, words are on stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rekey_ceremony.log import read_log
from rekey_ceremony.perform import perform, planned
from rekey_ceremony.retire import close, end_of, retire
from rekey_ceremony.settings import read_plan, read_settings
from rekey_core.encoding import what_and_next
from rekey_core.errors import ConfigurationError, RefusedError, RekeyError
from rekey_core.officers import payload_of

_FAILED: Final = 1
_REFUSED: Final = 4
_SIGN: Final = "ssh-keygen -Y sign -n {} -f KEY {}"
_GIVE: Final = "then rekey backup attest --about kek-end"


def main(arguments: list[str]) -> int:
    """The command line: 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args(arguments)
    try:
        report = _ACTIONS[options.action](options)
    except OSError as error:  # a file that somebody named
        sys.stderr.write(what_and_next(f"error: {error.filename}: {error.strerror}", None))
        return _FAILED
    except RekeyError as error:
        sys.stderr.write(what_and_next(f"error: {error}", error.hint))
        return _REFUSED if isinstance(error, RefusedError) else _FAILED
    sys.stdout.write(json.dumps(report, default=str, indent=2) + "\n")
    return 0


def _found(options: argparse.Namespace) -> dict[str, object]:
    plan = read_plan(options.settings, options.epoch)
    return dataclasses.asdict(planned(plan) if options.plan else perform(plan))


def _retire(options: argparse.Namespace) -> dict[str, object]:
    plan, genesis = read_plan(options.settings, options.epoch), read_settings(options.settings).trust_genesis
    if options.log is None:
        done = close(plan, options.reason, is_plan=options.plan)
        again = f"python -m rekey_backup log --challenge {done.challenge} --log LOG ..., then this again with --log LOG"
        return dataclasses.asdict(done) | {"next": again if done.challenge else "the same without --plan"}
    if genesis is None:
        raise ConfigurationError(
            "the ceremony's settings name no trust_genesis, which the log is verified from"
        )
    log = read_log(options.log, genesis, plan.env)
    done = retire(plan, log, options.reason, is_plan=options.plan)
    if options.end is not None and not options.plan:
        document = end_of(plan, done, log, options.reason)
        options.end.write_bytes(payload_of(document))
        return dataclasses.asdict(done) | {
            "next": f"{_SIGN.format(document.NAMESPACE, options.end)}, two officers; {_GIVE}"
        }
    return dataclasses.asdict(done)


_ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], dict[str, object]]]] = {
    "found": _found,
    "retire": _retire,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rekey_ceremony", description="KEK epochs on the tokens")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("found", help="give both tokens their halves of an epoch; again is no change")
    ending = actions.add_parser(
        "retire", help="destroy the halves of an epoch that nothing lies under any more"
    )
    for action in actions.choices.values():
        action.add_argument("--settings", type=Path, required=True, help="the tokens, a JSON file")
        action.add_argument("--epoch", type=_epoch, required=True, help="its number; the first is 1")
        action.add_argument("--plan", action="store_true", help="say what would be done; nothing is changed")
    ending.add_argument("--reason", required=True, help="why; it stays on the tokens")
    ending.add_argument("--log", type=Path, help="as rekey_backup log wrote it; first without, then with it")
    ending.add_argument(
        "--end", type=Path, help="where to write what two officers sign about the end, with --log"
    )
    return parser


def _epoch(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"expected a number from 1 on, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
