"""A token that really has no room: what it does not keep is not made, what it holds works, and with room it goes on.

No service writes an object into its token: versions and transport keys are session objects. Ceremony and enrolment do.
How much room there is: the largest file that a process may write (SoftHSM's objects are files; logging in writes 320 bytes).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.environments import ROOT
from rekey_ceremony import perform
from rekey_ceremony.softhsm import prepare
from tests.hsm_tokens import ceremony_plan

CEREMONY = """
import resource, sys
from pathlib import Path
from rekey_ceremony import perform
from rekey_core.errors import HsmError
from tests.hsm_tokens import ceremony_plan
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    perform(ceremony_plan(Path(sys.argv[1]), "full", epoch=int(sys.argv[2])))
except HsmError as error:
    print(error, "|", error.hint)
"""
ROOM = [
    pytest.param(16, "C_InitToken answers .*make room where it keeps its objects", id="not even for a token"),
    pytest.param(330, "kek-dev-trusted-recipient-secret-1", id="for a token, for no key"),
    pytest.param(900, "kek-dev-trusted-recipient-secret-1", id="for one half of a key"),
]


def ceremony(directory: Path, epoch: int, room: int) -> str:
    """What a ceremony says that is held with this much room, in bytes of each file; nothing when it went well."""
    command = [sys.executable, "-c", CEREMONY, str(directory), str(epoch), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


@pytest.mark.parametrize(("room", "text"), ROOM)
def test_a_ceremony_without_room_says_what_the_token_did_not_keep(
    tmp_path: Path, room: int, text: str
) -> None:
    prepare(tmp_path)
    assert re.search(text, ceremony(tmp_path, 1, room))


def test_a_full_token_has_what_it_had_and_takes_the_next_epoch_once_there_is_room(tmp_path: Path) -> None:
    """The ceremony proves by use whatever it finds, and never makes again what was founded."""
    before = perform(ceremony_plan(tmp_path, "full")).keys
    assert "-2" in ceremony(tmp_path, 2, 900)
    half_kept = perform(ceremony_plan(tmp_path, "full", epoch=2))
    assert {key.made for key in half_kept.keys} == {True}, "what was not kept has no mark, and costs no epoch"
    after = perform(ceremony_plan(tmp_path, "full")).keys
    assert [(k.label, k.check_value) for k in after] == [(k.label, k.check_value) for k in before]
    assert {key.made for key in after} == {False}
    assert {key.made for key in perform(ceremony_plan(tmp_path, "full", epoch=3)).keys} == {True}
