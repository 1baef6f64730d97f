"""``deploy/up``, typed wrongly: what was expected and found, and no traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rekey_local.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code."""
    monkeypatch.setattr(sys, "argv", ["deploy/up", *words])
    try:
        return main()
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--faster",), "unrecognized arguments: --faster", id="an option that there is not"),
        pytest.param(("--first-port", "0"), "from 1 to 65529, found '0'", id="no port"),
        pytest.param(("--first-port", "-1"), "found '-1'", id="less than none"),
        pytest.param(("--first-port", "65530"), "found '65530'", id="too few ports after it"),
        pytest.param(("--first-port", "bus"), "found 'bus'", id="a word"),
    ],
)
def test_what_is_typed_wrongly_is_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run(monkeypatch, *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "state"])
def test_a_state_directory_that_can_be_none_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    assert run(monkeypatch, "--found", "--state", str(tmp_path / "file" / below)) == 1
    said = "".join(capsys.readouterr())
    assert "cannot be used: " in said
    assert "hint: give another directory with --state" in said
