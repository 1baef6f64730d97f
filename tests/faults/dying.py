"""The ceremony's program, killed with its sides by SIGKILL right after one step.

``python -m tests.faults.dying STEP SIDE LABEL WORDS…`` is ``rekey_ceremony WORDS…`` until SIDE has done STEP for the key
of that label. The program leads a process group of its own; the whole group dies.
"""

from __future__ import annotations

import os
import signal
import sys

from rekey_ceremony.__main__ import main
from rekey_ceremony.pipe import SideProcess


def until(step: str, side: str, label: str) -> None:
    """Let the group die once the step is done, and its answer has come."""
    asked = SideProcess.ask

    def ask(self: SideProcess, do: str, **fields: str) -> dict[str, str]:
        answer = asked(self, do, **fields)
        if (do, self.role, fields.get("label")) == (step, side, label):
            os.killpg(0, signal.SIGKILL)
        return answer

    SideProcess.ask = ask  # type: ignore[method-assign]  # this process is the one that dies


if __name__ == "__main__":
    STEP, SIDE, LABEL, *WORDS = sys.argv[1:]
    until(STEP, SIDE, LABEL)
    sys.exit(main(WORDS))
