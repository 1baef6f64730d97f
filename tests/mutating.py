"""Judges mutants: each is one replacement in one file of a copy of the working tree.

The tests named beside it run in the copy, with the copy's packages before the installed ones. Before that they run on the
unbroken copy and must be green there, so that red means the mutant and not the copy. A test that starts processes from
their installed environments sees the tree and not the copy: only tests in whose own process the code runs can judge.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LEFT_OUT: Final = (".git", ".rekey", "__pycache__", "*.egg-info", "uv.lock")
TIME_LIMIT_S: Final = 900  # a mutant that hangs is killed as well; slow machines need 400 for all judges
ALL_PASSED, SOME_FAILED = 0, 1  # pytest's exit codes; any other means that nothing was judged


@dataclass(frozen=True)
class Mutant:
    """A mistake that somebody could make, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class UnfitError(Exception):
    """A mutant does not fit the code any more, or its tests are not green without it."""


class SurvivedError(Exception):
    """No test noticed the mutant."""


@dataclass(frozen=True)
class Copy:
    """A copy of the tree in which nothing is lost when it is broken."""

    root: Path

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """Exit code and output of pytest in the copy. A time-out counts as a failure."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--quiet",
            "--exitfirst",
            "--no-header",
        ]
        try:
            done = subprocess.run(
                [*command, *tests],
                cwd=self.root,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return SOME_FAILED, f"no end within {TIME_LIMIT_S} s"
        return done.returncode, done.stdout + done.stderr

    def check_packages(self) -> None:
        """Raise if the tests in the copy would import the packages of the tree."""
        where = "import rekey_core, rekey_hsm; print(rekey_core.__file__); print(rekey_hsm.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", where],
            cwd=self.root,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        foreign = [file for file in found if not Path(file).is_relative_to(self.root)]
        if foreign:
            raise UnfitError(f"expected packages of the copy, found {', '.join(foreign)}")

    def judge(self, mutant: Mutant) -> str:
        """The first failed test.

        Raises:
            UnfitError: the old text is not there exactly once, or nothing was judged.
            SurvivedError: its tests are green.
        """
        file = self.root / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise UnfitError(
                f"{mutant.file}: expected the old text once, found it {text.count(mutant.old)} times"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        try:
            code, output = self.run(mutant.tests)
        finally:
            file.write_text(text)
        if code == ALL_PASSED:
            raise SurvivedError(mutant.name)
        if code != SOME_FAILED:
            raise UnfitError(f"pytest ended with {code}: {output[-600:]}")
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR", "no end"))]
        return failed[0] if failed else "red"

    def _environment(self) -> dict[str, str]:
        packages = sorted(str(path) for path in self.root.glob("*/*/src"))
        return os.environ | {"PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"}


def main(mutants: Sequence[Mutant]) -> int:
    """Judge every mutant whose name has one of the words; all without words."""
    parser = argparse.ArgumentParser(
        prog="tests/run --mutants", description="named mutants; each must turn a test red"
    )
    parser.add_argument("words", nargs="*", help="only mutants with one of these words in their name")
    words = parser.parse_args().words
    chosen = [m for m in mutants if not words or any(word in m.name for word in words)]
    if not chosen:
        _say(f"no mutant has {' or '.join(words)} in its name")
        return 2
    with tempfile.TemporaryDirectory(prefix="rekey-mutants-") as directory:
        copy = Copy(Path(directory).resolve() / "tree")
        shutil.copytree(ROOT, copy.root, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        return _judge_all(copy, chosen)


def _judge_all(copy: Copy, mutants: Sequence[Mutant]) -> int:
    try:
        copy.check_packages()
        _check_green(copy, sorted({test for m in mutants for test in m.tests}))
    except UnfitError as error:
        _say(f"UNFIT     {error}")
        return 2
    verdicts = [_verdict(copy, mutant) for mutant in mutants]
    _say(f"{verdicts.count('killed')} of {len(mutants)} mutants killed")
    return 2 if "UNFIT" in verdicts else 1 if "SURVIVED" in verdicts else 0


def _check_green(copy: Copy, tests: Sequence[str]) -> None:
    began = time.monotonic()
    code, output = copy.run(tests)
    if code != ALL_PASSED:
        raise UnfitError(f"the tests are not green without a mutant: {output[-1500:]}")
    _say(f"green     without a mutant ({time.monotonic() - began:.1f} s)")


def _verdict(copy: Copy, mutant: Mutant) -> str:
    began = time.monotonic()
    try:
        verdict, why = "killed", copy.judge(mutant)
    except SurvivedError:
        verdict, why = "SURVIVED", " ".join(mutant.tests)
    except UnfitError as error:
        verdict, why = "UNFIT", str(error)
    _say(f"{verdict:9} {mutant.name} ({time.monotonic() - began:.1f} s): {why[:160]}")
    return verdict


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
