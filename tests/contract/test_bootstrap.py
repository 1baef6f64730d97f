"""On a strange machine: what is missing is named, with the command, and exit code 3 says so."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.environments import ROOT

TOO_OLD = "#!/bin/sh\nexit 1\n"  # answers the question for 3.11 with no
NOT_ROOT = "#!/bin/sh\necho 1000\n"
BROKEN = "#!/bin/sh\nexit 100\n"
SOFTHSM = "#!/bin/sh\n"
OLD_UV = '#!/bin/sh\necho "uv 0.8.24"\n'
NEW_UV = '#!/bin/sh\necho "uv 0.10.1"\n'
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python")


def _machine(tmp_path: Path, programs: dict[str, str]) -> Path:
    """A clone with its own PATH: the shell's companions and the given programs, nothing else."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("dirname", "sh"):
        (bin_ / name).symlink_to(str(shutil.which(name)))
    for name, text in programs.items():
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    (tmp_path / "deploy").mkdir()
    for name in ("up", "bootstrap.sh"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    return tmp_path


def _sh(machine: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    lines = f'set -eu; ROOT="{machine}"; . "$ROOT/deploy/bootstrap.sh"; {script}'
    command = [str(shutil.which("sh")), "-c", lines]
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine)} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        pytest.param(
            {"apt-get": BROKEN, "id": NOT_ROOT},
            "hint: sudo apt-get install -y softhsm2",
            id="without root the command is printed",
        ),
        pytest.param(
            {"apt-get": BROKEN, "id": NOT_ROOT, "sudo": BROKEN},
            "hint: sudo apt-get install -y softhsm2",
            id="a sudo that asks for a password is not used",
        ),
        pytest.param({"id": NOT_ROOT}, "has no apt-get", id="a system without apt-get is named"),
    ],
)
def test_up_without_softhsm_exits_3(tmp_path: Path, programs: dict[str, str], said: str) -> None:
    machine = _machine(tmp_path, programs)
    done = subprocess.run(
        [str(machine / "deploy" / "up")],
        env={"PATH": str(machine / "bin"), "HOME": str(machine)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert said in done.stderr


def test_no_process_compiles_everything_again(tmp_path: Path) -> None:
    done = _sh(_machine(tmp_path, {}), 'echo "${PYTHONDONTWRITEBYTECODE-kept}"', PYTHONDONTWRITEBYTECODE="1")
    assert done.stdout == "kept\n", done.stderr


def test_softhsm_that_is_there_is_not_installed_again(tmp_path: Path) -> None:
    machine = _machine(tmp_path, {"softhsm2-util": SOFTHSM})
    done = _sh(machine, "need_softhsm; echo there")
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr


def test_up_without_ssh_keygen_exits_3(tmp_path: Path) -> None:
    machine = _machine(tmp_path, {"softhsm2-util": SOFTHSM, "apt-get": BROKEN, "id": NOT_ROOT})
    done = _sh(machine, "need_softhsm; need_ssh_keygen")
    assert done.returncode == 3
    assert "hint: sudo apt-get install -y openssh-client" in done.stderr


def test_a_machine_with_an_old_python_alone_exits_3(tmp_path: Path) -> None:
    machine = _machine(tmp_path, dict.fromkeys(PYTHONS, TOO_OLD))
    done = _sh(machine, "need_python")
    assert done.returncode == 3
    assert "no Python 3.11 or newer on PATH" in done.stderr


def test_the_python_that_is_named_is_taken_first(tmp_path: Path) -> None:
    machine = _machine(tmp_path, dict.fromkeys(PYTHONS, TOO_OLD))
    done = _sh(machine, f'REKEY_PYTHON="{sys.executable}"; need_python; echo "$PYTHON"')
    assert done.stdout.strip() == sys.executable, done.stderr


@pytest.mark.parametrize(
    ("program", "taken"),
    [
        pytest.param(OLD_UV, False, id="uv before 0.9 is not used"),
        pytest.param(NEW_UV, True, id="uv from 0.9 on is used"),
        pytest.param(BROKEN, False, id="a uv that does not run is not used"),
    ],
)
def test_which_uv_is_used(tmp_path: Path, program: str, *, taken: bool) -> None:
    machine = _machine(tmp_path, {"uv": program})
    done = _sh(machine, 'if uv_is_new_enough "$(command -v uv)"; then echo used; fi')
    assert done.stdout == ("used\n" if taken else ""), done.stderr
