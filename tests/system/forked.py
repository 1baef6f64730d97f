"""The command line in a process of its own that need not import anything: it is forked from one that has.

What a command does is judged here a hundred times over, and beginning takes Python most of its time. The story starts it as
people do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Final

from rekey.cli.__main__ import main
from rekey_local.child import environment
from rekey_local.commands import LIMIT_S, Outcome, People
from rekey_local.settings import context

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
_ASKING: Final = threading.Lock()  # a start asks how all others ended: of two who ask at once, one hears 255


class Forked(People):
    """People whose commands are forked."""

    async def run(self, person: str, *arguments: str, limit_s: float = LIMIT_S) -> Outcome:
        """Run the command, whatever its exit code."""
        words = (*arguments, "--context", str(context(self.layout, person)))
        return await asyncio.to_thread(rekey, words, environment({"NO_COLOR": "1"}), limit_s)


def rekey(arguments: Sequence[str], variables: Mapping[str, str], limit_s: float = LIMIT_S) -> Outcome:
    """``rekey …`` without a terminal, whatever its exit code. Raises TimeoutError when it does not end; it is killed."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        out.touch()
        err.touch()
        process = _FORKS.Process(target=_run, args=(tuple(arguments), dict(variables), out, err))
        with _ASKING:
            process.start()
        has_ended = bool(connection.wait([process.sentinel], limit_s))
        if not has_ended:
            process.kill()
            connection.wait([process.sentinel])
        with _ASKING:
            code = process.exitcode
        if not has_ended or code is None:
            raise TimeoutError(f"rekey {' '.join(arguments)} has not ended after {limit_s:g} s")
        return Outcome(code, out.read_text(), err.read_text())


def _run(arguments: tuple[str, ...], variables: Mapping[str, str], out: Path, err: Path) -> None:
    for descriptor, path, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY),
        (2, err, os.O_WRONLY),
    ):
        os.dup2(os.open(path, mode), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["rekey", *arguments]
    main()
