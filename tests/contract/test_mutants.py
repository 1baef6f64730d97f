"""Every mutant fits the code, so that ``tests/run --mutants`` judges what is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import MUTANTS
from tests.mutating import Mutant

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, f"{mutant.file}: {mutant.old}"
    assert mutant.old != mutant.new
    assert [test for test in mutant.tests if not (ROOT / test.partition("::")[0]).exists()] == []


def test_no_two_mutants_have_the_same_name() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []
