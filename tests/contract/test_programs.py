"""What a program says of what went wrong moves no cursor and begins no line, whoever chose the words in it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from rekey.cli.__main__ import run as rekey
from rekey_backup.__main__ import main as backup
from rekey_ceremony.__main__ import main as ceremony
from rekey_enrolment.__main__ import main as enrolment
from rekey_local.newcomer import main as newcomer
from rekey_local.renewal import main as renewal
from rekey_provision.__main__ import main as provision

PLACE = "a\x1b[2K\nerror: b\u202e"
JOINS = "orders --owner alice --signing-key x --transport-key x --proposal x"
PROGRAMS = [
    pytest.param(lambda: rekey(sys.argv[1:]), ("key", "ls", "--context", PLACE), id="the command line"),
    pytest.param(backup, ("verify", "--settings", PLACE, "--bundle", "x"), id="backups"),
    pytest.param(enrolment, ("--settings", PLACE, "propose", *JOINS.split()), id="enrolment"),
    pytest.param(
        lambda: ceremony(sys.argv[1:]), ("found", "--settings", PLACE, "--epoch", "1"), id="the ceremony"
    ),
    pytest.param(provision, ("--settings", PLACE, "apply"), id="the bus provisioner"),
    pytest.param(renewal, ("--state", PLACE), id="renewal"),
    pytest.param(newcomer, ("orders", "--owner", "alice", "--state", PLACE), id="a newcomer"),
]


@pytest.mark.parametrize(("program", "words"), PROGRAMS)
def test_what_went_wrong_stays_in_its_line(
    program: Callable[[], int],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    assert program() != 0
    said = capsys.readouterr().err
    assert r"a\x1b[2K\nerror: b\u202e" in said
    assert all(line.isprintable() for line in said.split("\n"))
