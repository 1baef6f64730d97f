"""What holds of the repository as it is handed out: no trace of one machine, and a way in for newcomers."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from deploy.environments import ROOT
from tests.longest_first import LONGEST

MAX_LINES = 400  # past 300 a file is asked what wants to be two things; past this it is two

EVERYWHERE = [
    pytest.param(r"(?:^|[^\w./-])/(?:work|farm|root|home/\w+|Users/\w+)/", id="a path of one machine"),
    pytest.param(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\n", id="a private key"),
]
IN_INSTALLATION_FILES = [
    pytest.param(r"(?:index-url|find-links|trusted-host)", id="an option that names a package index"),
    pytest.param(
        r"https?://[^\s\"']*(?:/simple\b|pythonhosted|pypi|artifactory|nexus)", id="a package index"
    ),
]
IN_CODE = [  # a traceback shows the error that another one is raised from, and a model's error quotes what it found
    pytest.param(
        r"except ValidationError as (\w+):(?:\n(?! *except\b).*)*? from \1$", id="a model's error as a cause"
    ),
]
IN_TESTS = [  # words that no test may have, each written so that it does not find itself here
    pytest.param(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b", id="a test that may not run"),
    pytest.param(r"\bMagic[M]ock\b|\bmock\.[p]atch\b", id="a mock"),
]


@cache
def _tracked() -> tuple[Path, ...]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]  # what is handed out is what git knows
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def _hits(pattern: str, files: tuple[Path, ...]) -> list[str]:
    found: list[str] = []
    for file in files:
        text = file.read_bytes().decode("utf-8", "replace")
        lines = (text.count("\n", 0, match.start()) + 1 for match in re.finditer(pattern, text, re.MULTILINE))
        found.extend(f"{file.relative_to(ROOT)}:{line}" for line in lines)
    return found


def _others(files: tuple[Path, ...]) -> tuple[Path, ...]:
    vectors = ROOT / "tests" / "vectors"  # published elsewhere, kept byte for byte
    return tuple(f for f in files if not f.is_relative_to(vectors))


@pytest.mark.parametrize("pattern", EVERYWHERE)
def test_no_tracked_file_holds(pattern: str) -> None:
    assert _hits(pattern, _others(_tracked())) == []


@pytest.mark.parametrize("pattern", IN_CODE)
def test_no_code_holds(pattern: str) -> None:
    tests = ROOT / "tests"
    code = tuple(f for f in _tracked() if f.suffix == ".py" and not f.is_relative_to(tests))
    assert _hits(pattern, code) == []


@pytest.mark.parametrize("pattern", IN_INSTALLATION_FILES)
def test_no_installation_file_holds(pattern: str) -> None:
    kinds = (".toml", ".txt", ".lock", ".cfg", ".yml", ".yaml", ".sh", "")
    assert _hits(pattern, tuple(f for f in _others(_tracked()) if f.suffix in kinds)) == []


@pytest.mark.parametrize("pattern", IN_TESTS)
def test_no_test_file_holds(pattern: str) -> None:
    assert _hits(pattern, tuple(f for f in _others(_tracked()) if f.is_relative_to(ROOT / "tests"))) == []


def test_the_lock_of_uv_itself_is_not_tracked() -> None:
    assert ROOT / "uv.lock" not in _tracked()


def test_nothing_generated_is_tracked() -> None:
    assert [f for f in _tracked() if ".rekey" in f.parts or "__pycache__" in f.parts] == []


def test_no_python_file_is_longer_than_can_be_read() -> None:
    long = {
        str(f.relative_to(ROOT)): n for f in _tracked() if f.suffix == ".py" and (n := _lines(f)) > MAX_LINES
    }
    assert long == {}


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def test_the_readme_has_its_first_command_within_20_lines() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:20]
    assert [line for line in first if re.match(r"^(?: {4}|\t)?deploy/up\b", line)], first


@pytest.mark.parametrize("program", ["deploy/up", "deploy/enrol", "deploy/renew", "tests/run", ".ci/run"])
def test_a_program_is_executable_and_plain_sh(program: str) -> None:
    file = ROOT / program
    assert file.stat().st_mode & 0o111 == 0o111
    assert file.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(file)], check=True)


def test_the_files_of_tests_that_begin_first_are_there() -> None:
    assert [file for file in LONGEST if not (ROOT / "tests" / file).is_file()] == []


def test_the_build_server_runs_the_one_check() -> None:
    assert "tests/run" in (ROOT / ".ci" / "run").read_text()


def test_every_member_is_typed() -> None:
    untyped = [f for f in ROOT.glob("*/*/src/*/__init__.py") if not (f.parent / "py.typed").is_file()]
    assert untyped == []


def test_every_service_has_a_page_that_names_its_atomic_point() -> None:
    pages = {f.parent.name: f.parent / "README.md" for f in ROOT.glob("services/*/pyproject.toml")}
    assert [name for name, page in pages.items() if not page.is_file()] == []
    assert [name for name, page in pages.items() if "atomic" not in page.read_text().lower()] == []


def test_licence_is_the_one_that_every_member_names() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    projects = [f for f in _tracked() if f.name == "pyproject.toml"]
    assert [str(f) for f in projects if 'license = "Apache-2.0"' not in f.read_text()] == []
