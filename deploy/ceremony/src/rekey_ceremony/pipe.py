"""The ceremony's end of the pipes to one side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rekey_core.errors import HsmError

_LAST_WORDS_S: Final = 10.0


class SideProcess:
    """A process that holds one token; it ends with the ``with`` block."""

    def __init__(self, role: str, softhsm_conf: Path) -> None:
        self.role = role
        self._environment = {**os.environ, "SOFTHSM2_CONF": str(softhsm_conf)}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rekey_ceremony.side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process id of the side."""
        return self._process.pid

    def ask(self, do: str, **fields: str) -> dict[str, str]:
        """Send one request and wait for its answer.

        Raises:
            HsmError: the side refuses, or died.
        """
        if self._process.stdin is None or self._process.stdout is None:
            message = f"the {self.role}'s side has no pipes"
            raise HsmError(message)
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            message = f"the {self.role}'s side of the ceremony is gone before {do}"
            raise HsmError(message) from error
        line = self._process.stdout.readline()
        if not line:
            message = f"the {self.role}'s side of the ceremony ended in {do}"
            raise HsmError(message)
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            message = f"{self.role}: {answer['error']}"
            raise HsmError(message, hint=answer["hint"] or None)
        return answer
