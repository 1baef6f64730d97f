"""What is typed wrongly: exit code 2, what was expected and found, nothing on standard output, nothing sent."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from rekey.cli.__main__ import run
from rekey.cli.app import app
from rekey.cli.context import load_context
from rekey.cli.errors import UsageError
from rekey.cli.signing import place_of
from rekey.cli.target import MAX_VERSION, Target, parse_name, parse_target

LINES = [
    pytest.param("key show", "requires an argument", id="an argument is missing"),
    pytest.param("key frobnicate", "frobnicate", id="a verb that does not exist"),
    pytest.param("key ls --output yaml", "yaml", id="an output that does not exist"),
    pytest.param("key show Orders", "found 'Orders'", id="a name that cannot be one"),
    pytest.param("suspend orders-db@x --reason x --yes", "found 'x'", id="a version that is none"),
    pytest.param("revoke orders-* --reason x --yes", "found 'orders-*'", id="a wildcard in a stop"),
    pytest.param("revoke orders-db --yes", "--reason", id="a stop without a reason"),
    pytest.param("revoke orders-db --reason x", "expected --yes", id="a stop without a terminal"),
    pytest.param("key rotate orders-db --reason x --wait soon", "soon", id="a time that is none"),
    pytest.param(
        "key rotate orders-db --reason x --wait nan", "found nan", id="a time that can be no number"
    ),
    pytest.param("suspend orders-db --reason x --yes --wait inf", "found inf", id="a time that never ends"),
    pytest.param("key rotate orders-db --reason x --wait=-1", "found -1", id="a time in the past"),
    pytest.param(
        "key register orders-db --class c --purpose p --reason r", "--dependent", id="a key for nobody"
    ),
    pytest.param(
        "key destroy orders-db --reason x --plan", "expected a version", id="destroying a whole key"
    ),
    pytest.param("key destroy-cancel orders-db@1", "--reason", id="a cancellation without a reason"),
    pytest.param("kek status --epoch 0", "found 0", id="an epoch that there is not"),
    pytest.param("kek status --epoch old", "old", id="an epoch that is no number"),
    pytest.param("command 12 --context none", "none", id="a context that is not there"),
    pytest.param("key ls", "expected a context file, found none", id="no context"),
    pytest.param("backup status", "expected a context file, found none", id="no context for backups"),
]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_usage_is_exit_2(
    line: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REKEY_CONTEXT", raising=False)
    assert run(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "hint: " in said.err


BY_HAND = (Path(__file__).parents[3] / "README.md").read_text().split("\n## By hand")[1].split("\n## ")[0]
README = [line.strip() for line in BY_HAND.splitlines() if line.startswith("    rekey ")]


@pytest.mark.parametrize("line", README)
def test_a_line_of_the_readme_is_one_that_can_be_typed(line: str) -> None:
    """Every word of it is read; nobody is asked anything."""
    app.parse_args(shlex.split(line, comments=True)[1:], exit_on_error=False, print_error=False)


def test_the_readme_shows_what_people_need_by_hand() -> None:
    shown = {" ".join(shlex.split(line)[1:3]) for line in README}
    assert {"key register", "key rotate", "key destroy", "key destroy-cancel", "sign BODY"} <= shown


VERBS = ("register", "rotate", "suspend", "revoke", "force", "destroy", "destroy-cancel")


@pytest.mark.parametrize("verb", VERBS)
def test_a_hint_names_a_command_that_is_there(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*place_of(verb).split(), "--help"])
    assert ended.value.code == 0
    assert f"rekey {place_of(verb)}" in capsys.readouterr().out


TARGETS = [
    pytest.param("orders-db", Target("orders-db", 0), id="a key is every version"),
    pytest.param("orders-db@7", Target("orders-db", 7), id="one version"),
    pytest.param(f"k@{MAX_VERSION}", Target("k", MAX_VERSION), id="the highest version there can be"),
]


@pytest.mark.parametrize(("text", "target"), TARGETS)
def test_a_target_is_read_and_written_alike(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(target) == text


WRONG = [
    pytest.param("", "found ''", id="nothing"),
    pytest.param("@1", "found ''", id="a version of nothing"),
    pytest.param("a@", "found ''", id="no number after the sign"),
    pytest.param("a@0", "found 0", id="version 0"),
    pytest.param("a@-1", "found '-1'", id="a negative version"),
    pytest.param("a@1@2", "found '1@2'", id="two versions"),
    pytest.param(f"a@{MAX_VERSION + 1}", f"found {MAX_VERSION + 1}", id="one more than the highest"),
    pytest.param("a@٣", "found '٣'", id="digits of another script"),
    pytest.param("a.b@1", "found 'a.b'", id="a dot, which would be another subject"),
    pytest.param("a" * 64, "found 'aaa", id="a name that is too long"),
]


@pytest.mark.parametrize(("text", "found"), WRONG)
def test_a_target_that_is_none_says_what_was_expected_and_found(text: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert "expected" in str(caught.value)
    assert found in str(caught.value)
    assert caught.value.hint is not None


def test_a_name_says_which_argument_it_was() -> None:
    with pytest.raises(UsageError, match="--dependent: expected one name"):
        parse_name("Orders!", what="--dependent")


CONTEXT = """
env = "dev"
person = "alice"
bus_url = "tls://127.0.0.1:4222"
tls_cert = "tls.crt"
tls_key = "/elsewhere/tls.key"
tls_ca = "ca.crt"
ssh_key = "id_ed25519"
trust_genesis = "{digest}"
state_dir = "state"
"""


def test_paths_of_a_context_are_taken_from_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "context.toml"
    file.write_text(CONTEXT.format(digest="0" * 64))
    context = load_context(file)
    assert context.tls_cert == tmp_path / "tls.crt"
    assert context.tls_key == Path("/elsewhere/tls.key")
    assert context.server_name == "localhost"


WRONG_CONTEXTS = [
    pytest.param("env = 'dev'", "field required", id="a field is missing"),
    pytest.param(CONTEXT.format(digest="0" * 63), "trust_genesis", id="a genesis that is no hash"),
    pytest.param(
        CONTEXT.format(digest="0" * 64) + "colour = 'blue'", "colour", id="a field that does not exist"
    ),
    pytest.param("env = ", "context", id="not TOML"),
]


@pytest.mark.parametrize(("text", "words"), WRONG_CONTEXTS)
def test_a_wrong_context_names_its_field(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "context.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_context(file)
