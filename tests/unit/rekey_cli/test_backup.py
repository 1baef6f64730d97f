"""``rekey backup``: the program of those who keep the offline token, where it is installed; else where to find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey.cli import backup
from rekey.cli.__main__ import run
from rekey_backup.actions import ACTIONS


def test_every_verb_of_the_program_is_one_of_the_command_line() -> None:
    assert {*backup.WORDS, "drill"} == set(ACTIONS), "a drill is restore --drill"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param("verify --help", "usage: rekey backup verify", id="help is the program's"),
        pytest.param("restore --help", "--drill", id="a restore may be tried"),
        pytest.param("restore --drill --help", "--sandbox SANDBOX", id="and then takes a sandbox"),
    ],
)
def test_the_program_reads_its_own_words(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["backup", *words.split()])
    assert ended.value.code == 0
    assert said in capsys.readouterr().out


def ended(line: str) -> int:
    """The exit code as a shell sees it."""
    try:
        return run(line.split())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param("verify", 2, "--settings", id="words that are missing"),
        pytest.param(
            "verify --settings {place}/none --bundle x",
            2,
            "configuration: ",
            id="settings that are not there",
        ),
        pytest.param(
            "restore --drill --settings x --bundle x", 2, "--sandbox", id="a drill without a sandbox"
        ),
        pytest.param("frobnicate", 2, "frobnicate", id="a verb that does not exist"),
        pytest.param(
            "order --settings {place}/token.toml --reason x --epoch 0 --order {place}/order",
            4,
            "usage-refused: the order's epoch",
            id="an order that cannot be one",
        ),
    ],
)
def test_what_goes_wrong_ends_as_everything_else_of_the_command_line(
    words: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("hsm_module", "token_directory", "token_label", "token_serial", "pin_file", "so_pin_file")
    lines = ['env = "dev"', f'trust_genesis = "{"0" * 64}"', *(f'{name} = "/nowhere"' for name in names)]
    (tmp_path / "token.toml").write_text("\n".join(lines))
    assert ended(f"backup {words}".format(place=tmp_path)) == code
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_an_order_is_told_as_a_table_or_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("hsm_module", "token_directory", "token_label", "token_serial", "pin_file", "so_pin_file")
    lines = ['env = "dev"', f'trust_genesis = "{"0" * 64}"', *(f'{name} = "/nowhere"' for name in names)]
    (tmp_path / "token.toml").write_text("\n".join(lines))
    line = f"backup order --settings {tmp_path}/token.toml --reason quarterly --order {tmp_path}/order"
    assert ended(line) == 0
    assert "sign with   ssh-keygen -Y sign -n rekey-drill@v1" in capsys.readouterr().out
    assert ended(f"{line} --output json") == 0
    assert '"sign_with": "ssh-keygen' in capsys.readouterr().out


@pytest.mark.parametrize("word", backup.WORDS)
def test_where_it_is_not_installed_the_command_line_says_where_it_is(
    word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PROGRAM", "rekey.nothing")
    assert run(["backup", word, "--settings", "x"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "is not installed beside this command line" in said.err
    assert "hint: use the environment of the backup program" in said.err
