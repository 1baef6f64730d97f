"""The command line of the people who see to backups: what is wrong with their words is said, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_backup import actions
from rekey_backup.__main__ import main
from rekey_core.contracts import DrillOrder, RestoreOrder
from rekey_core.errors import UsageRefusedError

SETTINGS = """env = "dev"
trust_genesis = "{genesis}"
hsm_module = "/nowhere/libsofthsm2.so"
token_directory = "/nowhere"
token_label = "backup"
token_serial = "0"
pin_file = "/nowhere/pin"
so_pin_file = "/nowhere/so-pin"
"""
ORDER = ("order", "--reason", "quarterly", "--order", "{place}/order")
SIGNED = (*("drill", "--bundle", "{place}/bundle", "--order", "{place}/empty"), "--officer-signature")
INTO = ("--sandbox", "{place}/sandbox", "--attestation", "{place}/attestation")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with settings, an empty bundle and files that are nothing."""
    (tmp_path / "token.toml").write_text(SETTINGS.format(genesis="0" * 64))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "lines").write_text("{}\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    return tmp_path


def run(place: Path, *words: str) -> int:
    """The exit code of the program, as its caller sees it."""
    arguments = [word.format(place=place) for word in words]
    try:
        return main([arguments[0], "--settings", str(place / "token.toml"), *arguments[1:]])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else -1


WRONG = [
    pytest.param((*ORDER[:2], "", *ORDER[3:]), 4, "reason", id="an order without a reason"),
    pytest.param((*ORDER[:2], "x" * 501, *ORDER[3:]), 4, "reason", id="a reason that is too long"),
    pytest.param((*ORDER, "--epoch", "0"), 4, "epoch", id="an epoch that there is not"),
    pytest.param((*ORDER, "--epoch", "next"), 2, "--epoch", id="an epoch that is no number"),
    pytest.param((*ORDER[:4], "{place}/no/order"), 1, "No such file", id="a place that is not there"),
    pytest.param(("verify", "--bundle", "{place}/none"), 1, "No such file", id="a bundle that is not there"),
    pytest.param(("verify", "--bundle", "{place}/bytes"), 1, "not text", id="a bundle that is no text"),
    pytest.param(("verify", "--bundle", "{place}/lines"), 1, "a message on each line", id="another file"),
    pytest.param(("check", "--bundle", "{place}/empty"), 2, "--attestation", id="a file that is not named"),
    pytest.param((*SIGNED, "oliver", *INTO), 2, "NAME=FILE", id="a signature without a file"),
    pytest.param((*SIGNED, "=x", *INTO), 2, "NAME=FILE", id="a signature of nobody"),
    pytest.param((*SIGNED, "Oliver O=x", *INTO), 2, "NAME=FILE", id="a name that nobody has"),
]


@pytest.mark.parametrize(("words", "code", "said"), WRONG)
def test_wrong_words_are_answered_with_what_is_wrong(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    before = sorted(place.iterdir())
    assert run(place, *words) == code
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert (out, sorted(place.iterdir())) == ("", before), "nothing was done"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param("none", "none: No such file", id="a file that is not there"),
        pytest.param("bytes", "can't decode", id="bytes"),
        pytest.param("lines", "Invalid", id="no TOML"),
        pytest.param("empty", "empty: env: field required", id="another file's"),
    ],
)
def test_settings_that_are_none_are_named_by_their_field_and_never_by_a_value(
    place: Path, capsys: pytest.CaptureFixture[str], settings: str, said: str
) -> None:
    (place / "empty").write_text('bus_url = "tls://a-name-of-ours:1"')
    assert main(["verify", "--settings", str(place / settings), "--bundle", str(place / "empty")]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert "a-name-of-ours" not in err
    assert "token.toml" in err, "the next step"


def test_a_signature_that_is_none_is_refused_by_its_file(place: Path) -> None:
    with pytest.raises(UsageRefusedError, match=r"bytes: expected the signature that ssh-keygen"):
        actions._signature("oliver", place / "bytes")  # noqa: SLF001 - a bundle with officers would be needed


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        pytest.param((), DrillOrder, id="for a drill"),
        pytest.param(("--epoch", "3"), RestoreOrder, id="for a restore"),
    ],
)
def test_an_order_says_what_it_is_for_and_how_it_is_signed(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    kind: type[DrillOrder | RestoreOrder],
) -> None:
    assert run(place, *ORDER, *more) == 0
    made = kind.model_validate_json((place / "order").read_bytes())
    assert made.reason == "quarterly"
    assert f"ssh-keygen -Y sign -n {kind.NAMESPACE} -f KEY" in capsys.readouterr().out
