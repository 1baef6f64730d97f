"""Project Wycheproof's files: which result a test must have, and how a runner of ours says what it leaves out.

Valid must be accepted with equal output, invalid must be refused, acceptable follows the policy that the runner names.
A file counts only if every one of its tests was run, or is named as one that cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).parent / "vectors" / "wycheproof"

Json = Mapping[str, Any]
Check = Callable[[Json, Json], bool]  # group, test: accepted, with the expected output


@dataclass(frozen=True)
class VectorFile:
    """How a file's algorithm is called, which acceptable tests we accept, what cannot be run and why."""

    check: Check
    count: int
    accepts: Callable[[Json], bool] | None = None
    skips: Mapping[int, str] = field(default_factory=dict)


def load(name: str) -> Json:
    content: Json = json.loads((VECTORS / f"{name}_test.json").read_bytes())
    return content


def hexed(test: Json, name: str) -> bytes:
    return bytes.fromhex(test[name])


def judge(name: str, file: VectorFile, refusals: tuple[type[Exception], ...]) -> None:
    """Run every test of a file.

    Raises:
        AssertionError: a test has another result than it must have, or one was left out without a name.
    """
    content = load(name)
    tests = [(group, test) for group in content["testGroups"] for test in group["tests"]]
    run = [(group, test) for group, test in tests if test["tcId"] not in file.skips]
    wrong = [t["tcId"] for g, t in run if _accepted(file.check, g, t, refusals) is not _expected(file, t)]
    assert wrong == [], f"{name}: another result than expected: {wrong}"
    assert len(run) + len(file.skips) == content["numberOfTests"] == file.count


def _accepted(check: Check, group: Json, test: Json, refusals: tuple[type[Exception], ...]) -> bool:
    try:
        return check(group, test)
    except refusals:
        return False


def _expected(file: VectorFile, test: Json) -> bool:
    if test["result"] == "acceptable":
        assert file.accepts is not None, "an acceptable result needs a policy"
        return file.accepts(test)
    assert test["result"] in ("valid", "invalid")
    return bool(test["result"] == "valid")
