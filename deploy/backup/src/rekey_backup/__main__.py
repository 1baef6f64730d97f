"""``python -m rekey_backup export|log|verify|order|drill|attest|check|restore|import …``: see ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

from rekey_backup.actions import ACTIONS, FAILED
from rekey_backup.words import FORMATS
from rekey_core.contracts import About, DrillOrder, RestoreOrder
from rekey_core.drilled import ATTESTATION
from rekey_core.encoding import what_and_next
from rekey_core.errors import ConfigurationError, RefusedError, RekeyError
from rekey_core.names import is_token

_REFUSED: Final = 4
_DRILL: Final = "--drill"

_WORDS: Final = {
    "export": "read facts and backups from the bus into a file; no token is needed",
    "log": "read every fact from the bus into a file, for the end of a KEK epoch; no token is needed",
    "verify": "open every backup in the offline token and hold it against the log; no bus is needed",
    "order": "write the order for a drill, or with --epoch for a restore, for the officers to sign",
    "drill": "restore everything into fresh tokens in a sandbox; write what the officers attest",
    "attest": "give the officers' attestation to audit, which records it; no token is needed",
    "check": "say until when the officers' attestation holds",
    "restore": "wrap every version for the tokens of a fresh epoch into a file; no bus is needed",
    "import": "give what restore has written to the generator; no token is needed",
}
_PATHS: Final = {
    "export": ("bundle",),
    "log": ("log",),
    "verify": ("bundle",),
    "order": ("order",),
    "drill": ("bundle", "order", "sandbox", "attestation"),
    "attest": ("attestation",),
    "check": ("bundle", "attestation"),
    "restore": ("bundle",),
    "import": ("restored",),
}
_PLANS: Final = {
    "attest": "be recorded; gives nothing to audit",
    "restore": "come back and what not; needs no token",
    "import": "come back and what not; gives nothing to the generator",
}
_SIGNED: Final = {
    "drill": DrillOrder.NAMESPACE,
    "attest": DrillOrder.NAMESPACE,
    "check": DrillOrder.NAMESPACE,
    "restore": RestoreOrder.NAMESPACE,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: data on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused.

    ``arguments``: the words after the program's name; none are the process's own.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments, "rekey_backup", "json")
    except RekeyError as error:
        sys.stderr.write(what_and_next(f"error: {error}", error.hint))
        return _REFUSED if isinstance(error, RefusedError) else FAILED


def backup(arguments: Sequence[str]) -> int:
    """The same as a part of ``rekey``: what goes wrong is for its command line to say, and its exit codes.

    Raises:
        RekeyError: as the action; ConfigurationError for a file that is not there.
    """
    return _run(arguments, "rekey backup", "table")


def _run(arguments: Sequence[str], program: str, output: str) -> int:
    words = list(arguments)
    if words[:1] == ["restore"] and _DRILL in words:
        words = ["drill", *(word for word in words[1:] if word != _DRILL)]
    options = _parser(program, output).parse_args(words)
    try:
        return ACTIONS[options.action](options)
    except OSError as error:  # a file that somebody named
        message = f"{error.filename}: {error.strerror}"
        raise ConfigurationError(message) from error


def _parser(program: str, output: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="prove backups, try a restore, restore")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, help_ in _WORDS.items():
        action = actions.add_parser(name, help=help_, description=help_)
        action.add_argument("--output", choices=FORMATS, default=output, help="how data is written")
        for option in ("settings", *_PATHS[name]):
            action.add_argument(f"--{option}", type=Path, required=True)
        if name in _SIGNED:
            action.add_argument(
                "--officer-signature",
                action="append",
                default=[],
                type=_named_file,
                metavar="PERSON=FILE",
                help=f"ssh-keygen -Y sign -n {_SIGNED[name]} -f KEY FILE makes FILE.sig",
            )
    for name in ("attest", "check"):
        actions.choices[name].add_argument(
            "--about",
            choices=get_args(About),
            default=ATTESTATION,
            help="attestation: of a drill; kek-end: what rekey_ceremony retire --end wrote (namespace rekey-kek@v1)",
        )
    actions.choices["log"].add_argument(
        "--challenge", required=True, help="what rekey_ceremony retire printed"
    )
    actions.choices["drill"].add_argument(
        "--document",
        action="append",
        default=[],
        type=_named_file,
        metavar="KEY=FILE",
        help="an old ciphertext of envelope encryption under this key: the fresh tokens must open it",
    )
    actions.choices["order"].add_argument("--reason", required=True)
    actions.choices["order"].add_argument("--epoch", type=int, help="of the KEKs of the fresh tokens")
    for option in ("order", "restored"):
        actions.choices["restore"].add_argument(f"--{option}", type=Path)
    actions.choices["restore"].add_argument(_DRILL, action="store_true", help="the same as drill: try it")
    for name, what in _PLANS.items():
        help_ = f"say what would {what}"
        actions.choices[name].add_argument("--plan", action="store_true", help=help_)
    return parser


def _named_file(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not is_token(name) or not file:
        message = f"expected NAME=FILE, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return name, Path(file)


if __name__ == "__main__":
    sys.exit(main())
