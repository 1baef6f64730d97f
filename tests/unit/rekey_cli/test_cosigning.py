"""Two people at the command line: files that are what both sign, and nothing sent that would be refused."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekey.cli import cosigning
from rekey.cli.__main__ import run
from rekey.cli.context import Context
from rekey.cli.signing import build
from rekey_core.commands import payload_of
from rekey_core.contracts import COMMAND_NAMESPACE, Command, Force, Rotate
from rekey_core.errors import RekeyError
from tests.unit.world import ENV, World

WORLD = World()
KEY = "orders-db"


@dataclass(frozen=True)
class Desk:
    """A directory with everybody's contexts and keys."""

    home: Path

    def context(self, person: str) -> Context:
        key = self.home / person
        key.touch(mode=0o600)
        key.write_bytes(WORLD.people[person])
        return Context(
            env=ENV, person=person, bus_url="tls://127.0.0.1:1", tls_cert=key, tls_key=key, tls_ca=key, ssh_key=key,
            trust_genesis="0" * 64, state_dir=self.home,
        )  # fmt: skip

    def run(self, person: str, line: str) -> int:
        """The command line as this person, in this directory."""
        file = self.home / f"{person}.toml"
        said = self.context(person).model_dump(mode="json", exclude_unset=True)
        file.write_text("".join(f'{name} = "{value}"\n' for name, value in said.items()))
        words = [word.replace("HERE", str(self.home)) for word in [*line.split(), "--context", str(file)]]
        try:
            return run(words)
        except SystemExit as done:  # how a command line that worked ends
            return int(done.code or 0)

    def together(self, person: str, *signatures: str, wanted: Command | None = None) -> Command:
        """Alice's body with hers and these signatures; verified."""
        context = self.context(person)
        wanted = wanted or build(Force, context, key=KEY, version=2, reason="x")
        return self.papers(*signatures).together(wanted, context, WORLD.trust)[0]

    def papers(self, *signatures: str) -> cosigning.Papers:
        cosign = tuple(self.home / name for name in signatures)
        return cosigning.Papers("key force", None, None, self.home / "body", cosign)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    assert made.run("alice", "key force orders-db@2 --reason stuck --out HERE/body") == 0
    return made


def test_one_writes_another_signs_both_count(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("alice", "key force orders-db@2 --reason stuck --out HERE/other") == 0
    assert "rekey key force orders-db@2 --body" in capsys.readouterr().out
    assert desk.run("rita", "sign HERE/body --yes") == 0
    said = capsys.readouterr()
    assert "force orders-db@2, by alice in dev\nreason: stuck\n" in said.err
    assert "body.sig" in said.out
    assert desk.together("alice", "body.sig").reason == "stuck"


def test_a_body_that_changes_after_it_was_looked_at_is_not_what_is_sent(desk: Desk) -> None:
    assert desk.run("rita", "sign HERE/body --yes") == 0
    papers, alice = desk.papers("body.sig"), desk.context("alice")
    looked_at = papers.command
    other = build(Force, alice, key=KEY, version=2, reason="another")
    (desk.home / "body").write_bytes(payload_of(other))
    assert papers.together(other, alice, WORLD.trust)[0] == looked_at


def test_the_hint_of_a_second_signature_without_a_terminal_names_what_sign_takes(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run("rita", "sign HERE/body") == 2
    assert "--plan" not in capsys.readouterr().err


def test_no_reason_writes_over_what_the_second_person_reads(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up a line, erase it, and another version stands there; or a line of its own; or letters from right to left."""
    reason = "\x1b[1A\x1b[2Kforce orders-db@1, by alice in dev\nvalid until \u202e"
    body = build(Force, desk.context("alice"), key=KEY, version=2, reason=reason)
    (desk.home / "hostile").write_bytes(payload_of(body))
    assert desk.run("rita", "sign HERE/hostile --yes") == 0
    said, line = (
        capsys.readouterr().err,
        r"reason: \x1b[1A\x1b[2Kforce orders-db@1, by alice in dev\nvalid until \u202e",
    )
    assert said.splitlines()[:2] == ["force orders-db@2, by alice in dev", line]


def test_ssh_keygen_signs_as_well(desk: Desk) -> None:
    desk.context("rita")
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", COMMAND_NAMESPACE, "-f", "rita", "body"]
    subprocess.run(command, cwd=desk.home, check=True, capture_output=True)
    assert desk.together("alice", "body.sig").VERB == "force"


def test_the_signature_of_rekey_is_the_one_of_ssh_keygen(desk: Desk) -> None:
    assert desk.run("rita", "sign HERE/body --yes") == 0
    ours = (desk.home / "body.sig").read_bytes()
    (desk.home / "body.sig").unlink()
    test_ssh_keygen_signs_as_well(desk)
    assert (desk.home / "body.sig").read_bytes() == ours


LINES = [
    pytest.param("rita", "sign HERE/body", "expected --yes", id="a second signature without a terminal"),
    pytest.param("alice", "sign HERE/body --yes", "does not count as second", id="the author as second"),
    pytest.param("rita", "sign HERE/none --yes", "No such file", id="a body that is not there"),
    pytest.param("rita", "sign HERE/rita.toml --yes", "body", id="a file that is no body"),
    pytest.param("alice", "key force orders-db --reason x --out HERE/b", "expected a version", id="no version"),
    pytest.param("alice", "key force orders-db@2 --reason x", "expected --out, or --body", id="no step"),
    pytest.param("alice", "key force orders-db@2 --out HERE/b", "expected --reason", id="no reason"),
    pytest.param(
        "alice", "key force orders-db@2 --body HERE/body", "--body with --cosign", id="a body that one signed"
    ),
    pytest.param(
        "alice", "key force orders-db@2 --reason x --out HERE/body", "File exists", id="a body written over"
    ),
    pytest.param(
        "alice", "key force orders-db@2 --reason x --out HERE/b --plan", "or --plan", id="two steps at once"
    ),
    pytest.param(
        "alice",
        "key force orders-db@2 --body HERE/body" + 5 * " --cosign HERE/body",
        "at most 4 times",
        id="more people than any command needs",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("person", "line", "words"), LINES)
def test_what_is_typed_wrongly_is_exit_2(
    desk: Desk, person: str, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert desk.run(person, line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert not (desk.home / "body.sig").exists()


@pytest.mark.parametrize(
    ("person", "signatures", "wanted", "code"),
    [
        pytest.param("rita", ("body.sig",), None, "usage", id="somebody else's body"),
        pytest.param("alice", ("body.sig", "body.sig"), None, "authority", id="the same person twice"),
        pytest.param("alice", ("body",), None, "signature", id="a file that is no signature"),
        pytest.param("alice", ("none.sig",), None, "usage", id="a signature that is not there"),
        pytest.param("alice", ("body.sig",), ("v", 3), "usage", id="a body about another version"),
        pytest.param("alice", ("body.sig",), ("key", "orders-x"), "usage", id="a body about another key"),
        pytest.param("alice", ("body.sig",), ("verb", ""), "usage", id="a body of another verb"),
    ],
)
def test_nothing_is_sent_that_would_be_refused(
    desk: Desk, person: str, signatures: tuple[str, ...], wanted: tuple[str, str | int] | None, code: str
) -> None:
    assert desk.run("rita", "sign HERE/body --yes") == 0
    context = desk.context("alice")
    other: Command | None = None
    match wanted:
        case ("v", int(version)):
            other = build(Force, context, key=KEY, version=version, reason="x")
        case ("key", str(key)):
            other = build(Force, context, key=key, version=2, reason="x")
        case ("verb", _):
            other = build(Rotate, context, key=KEY, reason="x")
    with pytest.raises(RekeyError) as refused:
        desk.together(person, *signatures, wanted=other)
    assert refused.value.code == code


def test_a_body_that_was_touched_is_none_any_more(desk: Desk) -> None:
    body = desk.home / "body"
    body.write_bytes(body.read_bytes() + b"\n")
    with pytest.raises(RekeyError, match="expected canonical JSON"):
        cosigning.read_body(body)
