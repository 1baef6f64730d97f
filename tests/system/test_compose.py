"""The compose file without an engine: the very install steps and commands of its images, in a root of the test's own.

Each target's RUN line installs into an empty directory, from what its build was given and nothing else; founding founds;
then bus and services start from there by their own commands, in the order of the compose file, and each says that it is
ready. What is not shown: that an engine builds the base images, mounts the volumes and holds the containers apart.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import pytest
from packaging.utils import canonicalize_name

from deploy.environments import ROOT
from rekey_local.database import unprivileged
from tests.contract.test_environments import ALLOWED
from tests.images import FIVE, INSTALLED, SERVICES, STAGES, STATE, install_steps, target
from tests.system.ports import ports_in_a_row

LIMIT_S: Final = 90.0
GENERATED: Final = shutil.ignore_patterns("__pycache__")  # as .dockerignore says
PORTS: Final = 8  # at least as many as the servers of one environment
WITHOUT_HSM: Final = ("rotation-scheduler", "revocation", "audit", "bus", "database", "cli")
LIST: Final = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"


@dataclass
class Root:
    """What would be the roots of the containers: one for all, since every path in them is another one."""

    directory: Path
    first_port: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def sources(self) -> Path:
        """Where a build has what the Dockerfile copies into it, and nothing else."""
        return self.directory / "build"

    def copy(self) -> None:
        """Do what the COPY lines of the build say."""
        for line in STAGES["sources"].all("COPY"):
            *found, into = line.split()
            for name in found:
                place = self.sources / into / (Path(name).name if into.endswith("/") else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, place, ignore=GENERATED, dirs_exist_ok=True)
                else:
                    shutil.copyfile(ROOT / name, place)

    def here(self, words: list[str]) -> list[str]:
        """The words of an image with their paths in this root."""
        places = {
            "/uv/bin/uv": _uv(),
            INSTALLED: str(self.directory / "opt"),
            STATE: str(self.directory / "state"),
            "/python3.11/": f"/python{sys.version_info.major}.{sys.version_info.minor}/",  # of the base image
        }
        for there, here in places.items():
            words = [word.replace(there, here) for word in words]
        for port in range(4222, 4222 + PORTS):
            words = [re.sub(rf"\b{port}\b", f"port {port - 4222}", word) for word in words]
        return [re.sub(r"port (\d)", lambda n: str(self.first_port + int(n[1])), word) for word in words]

    def install(self, service: str) -> None:
        """Run the install steps of a service's target."""
        for step in install_steps(target(service)):
            words = self.here([sys.executable if word == "python" else word for word in step])
            done = subprocess.run(words, cwd=self.sources, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

    def run(self, service: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run a target's command to its end."""
        words = [*self.here(target(service).command), *more]
        return subprocess.run(
            words, env=self.environment(service), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    def start(self, service: str) -> Path:
        """Start a target's command; where what it writes goes."""
        log = self.directory / f"{service}.log"
        with log.open("wb") as out:
            words = self.here(target(service).command)
            if service == "database":  # does not run as root; in its container nobody is
                words = [*unprivileged(), *words]
            self.running.append(_popen(words, out, self.environment(service)))
        return log

    def is_healthy(self, service: str) -> bool:
        """What an engine would ask, by the very words of the compose file."""
        words = self.here(SERVICES[service]["healthcheck"]["test"][1:])
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def environment(self, service: str) -> dict[str, str]:
        """What the compose file gives it, and where programs are."""
        given = SERVICES[service].get("environment", {})
        return {"PATH": os.environ["PATH"], **{name: self.here([value])[0] for name, value in given.items()}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """Every target is installed; nothing is founded yet."""
    made = Root(tmp_path_factory.mktemp("compose"), ports_in_a_row(PORTS))
    made.copy()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(made.install, SERVICES))
    try:
        yield made
    finally:
        for process in reversed(made.running):
            process.terminate()
            process.wait(LIMIT_S)


@pytest.fixture(scope="module")
def founded(root: Root) -> Root:
    """As the founding container leaves it."""
    done = root.run("founding")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_an_image_holds_its_members_and_what_they_declare_and_no_link_to_the_sources(root: Root) -> None:
    for service in SERVICES:
        name = "stack" if service == "founding" else service
        home = root.directory / "opt" / name
        listed = subprocess.run(
            [home / "bin" / "python", "-I", "-c", LIST], capture_output=True, text=True, check=True
        )
        assert {canonicalize_name(found) for found in json.loads(listed.stdout)} == ALLOWED[name]
        links = [p.read_text() for p in home.rglob("*.pth")]
        assert [link for link in links if str(ROOT) in link or str(root.sources) in link] == []


@pytest.mark.parametrize("service", WITHOUT_HSM)
def test_who_has_no_hsm_has_no_pkcs11_in_its_image(root: Root, service: str) -> None:
    home = root.directory / "opt" / service
    done = subprocess.run(
        [home / "bin" / "python", "-I", "-c", "import pkcs11"], capture_output=True, text=True, check=False
    )
    assert "No module named 'pkcs11'" in done.stderr
    assert [p for p in home.rglob("*") if "pkcs11" in p.name.lower()] == []


def test_a_service_without_settings_says_so_and_ends(tmp_path: Path, root: Root) -> None:
    empty = Root(tmp_path, root.first_port)
    ended = {}
    for service in FIVE:
        program, *arguments = target(service).command
        words = [*root.here([program]), *empty.here(arguments)]
        ended[service] = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = {service: process.communicate(timeout=LIMIT_S)[0] for service, process in ended.items()}
    for service, process in ended.items():
        assert process.returncode == 70, service
        assert "settings.toml" in said[service]


def written(state: Path) -> dict[Path, int]:
    """When each file was; not those that a running database writes for itself."""
    ours = (path for path in state.rglob("*") if state / "database" / "data" not in path.parents)
    return {path: path.stat().st_mtime_ns for path in ours if path.name != "lock"}


def test_founding_leaves_every_directory_that_a_container_mounts_and_is_done_once(founded: Root) -> None:
    state = founded.directory / "state"
    for service in SERVICES:
        for volume in SERVICES[service]["volumes"]:
            assert (state / volume.get("volume", {}).get("subpath", "")).is_dir(), volume
    before = written(state)
    again = founded.run("founding")
    assert again.returncode == 0
    assert "founded before" in again.stdout
    assert written(state) == before


def follows(log: str) -> bool:
    """Whether a service that missed its database, as on a busy machine, has it back."""
    return log.rfind("database-away") <= log.rfind("database-back")


def test_bus_and_services_start_from_their_images_on_what_founding_left(founded: Root) -> None:
    founded.start("bus")
    _until(lambda: founded.is_healthy("bus"), "the bus")

    database = founded.start("database")
    _until(lambda: "ready to accept connections" in database.read_text(), "the database")
    logs = {service: founded.start(service) for service in FIVE}

    for service, log in logs.items():
        _until(lambda name=service: founded.is_healthy(name), f"{service}: {log}")
        _until(lambda log=log: follows(log.read_text()), f"the database of {service}: {log}")
    context = founded.directory / "state" / "people" / "alice" / "context.toml"
    listed = founded.run("cli", "key", "ls", "--output", "json", "--context", str(context))
    assert listed.returncode == 0, listed.stderr


def _until(is_true: object, what: str) -> None:
    assert callable(is_true)
    end = time.monotonic() + LIMIT_S
    while not is_true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def _popen(words: list[str], out: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=environment)


def _uv() -> str:
    """The uv that built the environments: the private one, else the user's own."""
    private = ROOT / ".rekey" / "tools" / "bin" / "uv"
    found = str(private) if private.is_file() else shutil.which("uv")
    assert found is not None, "no uv: run tests/run once, it installs one"
    return found
