"""A third dependent in a running stack, by the very commands of the README: with the SDK, and without it.

The plain service (plain_dependent.py) is a process that uses FastStream, cryptography and deploy/asyncapi.json alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.environments import ROOT
from rekey_local.plan import read_plan
from tests.system.stack import NATS, RunningStack, running_stack

KEY, NAME = "orders-labels", "shipping"
LIMIT_S: Final = 60
SECTION: Final = (
    (ROOT / "README.md").read_text().split("## Become a dependent in five minutes")[1].split("\n## ")[0]
)
PROGRAM, *_ = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
ENROL, WITH_SDK, WITHOUT_SDK = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Bus and services; shipping is enrolled and has a key, as the README says."""
    with running_stack(tmp_path_factory.mktemp("dependents"), registered=False, instances=False) as running:
        done = shell(running, ENROL)
        assert done.returncode == 0, done.stderr
        yield running


@dataclass
class Plain:
    """The plain service, running; what it has said so far."""

    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> None:
        """Collect lines until it ends."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.said.extend(map(json.loads, lines))

    def has_said(self, event: str, **fields: object) -> Callable[[], bool]:
        """Whether a line of this event has these fields."""
        wanted = {"event": event, **fields}
        return lambda: any(wanted.items() <= line.items() for line in self.said)


@pytest.fixture
def plain(stack: RunningStack) -> Iterator[Plain]:
    """As the README starts it, with the certificate of shipping."""
    words = in_state(stack, WITHOUT_SDK).split()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    running = Plain(process)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        stack.until(running.has_said("ready"), what="the plain service")
        yield running
    finally:
        process.terminate()
        code = process.wait(LIMIT_S)
        reader.join()
    assert code == 0, "it ends by itself when it is told to"


def in_state(stack: RunningStack, text: str) -> str:
    """The README's words with this stack's directory in the place of the usual one."""
    state = str(stack.layout.root)
    return text.replace("deploy/enrol ", f"deploy/enrol --state {state} ").replace(".rekey/stack", state)


def shell(stack: RunningStack, text: str) -> subprocess.CompletedProcess[str]:
    """Run a block of the README."""
    command = ["sh", "-euc", in_state(stack, text)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def enrol(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run deploy/enrol on this stack."""
    command = [str(ROOT / "deploy" / "enrol"), *arguments, "--state", str(stack.layout.root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_who_is_refused_leaves_everything_as_it_is(stack: RunningStack) -> None:
    before = read_plan(stack.layout)
    done = enrol(stack, NAME, "--owner", "otto")
    assert (done.returncode, done.stdout) == (4, "")
    assert "is enrolled, with owner alice" in done.stderr
    assert read_plan(stack.layout) == before


def test_without_a_stack_nothing_is_enrolled_and_the_next_step_is_named(tmp_path: Path) -> None:
    command = [
        str(ROOT / "deploy" / "enrol"),
        "shipping",
        "--owner",
        "alice",
        "--state",
        str(tmp_path / "none"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "hint: deploy/up" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plan_changes_nothing(stack: RunningStack) -> None:
    done = enrol(stack, "packing", "--owner", "alice", "--plan")
    assert json.loads(done.stdout)["planned"] is True
    assert "packing" not in read_plan(stack.layout).every_dependent
    assert not stack.layout.dependent("packing").exists()


def test_enrolled_again_is_no_change(stack: RunningStack) -> None:
    directory = stack.layout.dependent(NAME)
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    done = enrol(stack, NAME, "--owner", "alice")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"] == str(directory / "settings-1.toml")
    assert {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()} == before


def test_the_readme_s_program_encrypts_under_a_key_that_was_granted_to_the_newcomer(
    stack: RunningStack, tmp_path: Path
) -> None:
    app = tmp_path / "app.py"
    app.write_text(PROGRAM)
    done = shell(stack, WITH_SDK.replace("app.py", str(app)))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "to Ada, 12 Analytical Street\n"


def test_the_newcomer_is_still_let_in_by_a_bus_that_was_started_again(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.kill(NATS)
    stack.ready(NATS)
    test_the_readme_s_program_encrypts_under_a_key_that_was_granted_to_the_newcomer(stack, tmp_path)


def test_a_service_that_has_only_the_contract_sees_a_rotation_a_stop_and_its_end(
    stack: RunningStack, plain: Plain, tmp_path: Path
) -> None:
    current = stack.show(KEY).current
    assert current is not None
    assert plain.has_said("rotated", key=KEY, version=current)()

    rotated = stack.rotate(KEY)
    assert rotated.code == 0, rotated.err
    stack.until(plain.has_said("rotated", key=KEY, version=current + 1), what="the rotation")

    stopped = stack.rekey("rita", "suspend", f"{KEY}@{current}", "--reason", "a test", "--yes")
    assert stopped.code == 0, stopped.err
    stack.until(plain.has_said("stopped", key=KEY, version=current), what="the stop")

    resume, body = ("rita", "resume", f"{KEY}@{current}"), str(tmp_path / "body")
    assert stack.rekey(*resume, "--reason", "found again", "--out", body).code == 0
    assert stack.rekey("alice", "sign", body, "--yes").code == 0
    resumed = stack.rekey(*resume, "--body", body, "--cosign", f"{body}.sig")
    assert resumed.code == 0, resumed.err
    stack.until(plain.has_said("resumed", key=KEY, version=current), what="the end of the stop")
    assert not plain.has_said("refused")()


def test_the_settings_of_the_newcomer_name_its_own_files_alone(stack: RunningStack) -> None:
    settings = tomllib.loads((stack.layout.dependent(NAME) / "settings-1.toml").read_text())
    files = [
        Path(settings[name]) for name in ("tls_cert", "tls_key", "tls_ca", "signing_key", "transport_key")
    ]
    assert {file.parent for file in files} == {stack.layout.dependent(NAME)}
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_the_interpreter_of_the_readme_is_one_that_deploy_up_installs() -> None:
    installed = re.search(r"need_environments (.*)", (ROOT / "deploy" / "up").read_text())
    assert installed is not None
    used = set(re.findall(r"\.rekey/env/([\w-]+)/", SECTION))
    assert used <= set(installed[1].split())
    assert sys.version_info >= (3, 11)
