"""What is shown to people: what others have written stays in its line and its cell."""

from __future__ import annotations

import pytest

from rekey.cli.output import View, show, tell
from rekey_backup.words import say

HOSTILE = "lost\x1b[2J\nsuspended  no"
SHOWN = r"lost\x1b[2J\nsuspended  no"


def test_a_cell_and_a_line_of_somebody_else_move_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(View({}, columns=("reason",), cells=((HOSTILE,),), lines=(HOSTILE,)), "table")
    tell(HOSTILE)
    said = capsys.readouterr()
    assert said.out.splitlines() == [SHOWN, "reason", SHOWN]
    assert said.err.splitlines() == [SHOWN]


def test_nor_does_what_officers_read_of_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    say({"reason": HOSTILE}, (HOSTILE,), "table")
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"reason  {SHOWN}\n", f"error: {SHOWN}\n")
