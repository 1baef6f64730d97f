"""The images and the compose file hold the same separation as the environments, and nothing in them leads nowhere.

No engine is needed, and none has run them here: the compose file is held against the Compose Specification's own JSON
Schema (tests/vectors/compose-spec), the rest is read as text. tests/system/test_compose.py runs what they name.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from deploy.environments import ENVIRONMENTS, ROOT, members, select
from rekey_local.layout import Layout
from rekey_local.plan import load_plan
from tests.images import COMPOSE, FIVE, INSTALLED, SERVICES, STAGES, STATE, ancestry, install_steps, target

SCHEMA: Final = ROOT / "tests" / "vectors" / "compose-spec" / "compose-spec.json"
VALIDATOR: Final = Draft202012Validator(json.loads(SCHEMA.read_text()))
WITH_HSM: Final = {"generator", "distributor", "founding"}
NO_SECRETS: Final = {"SOFTHSM2_CONF"}  # the one variable: a path


def test_the_compose_file_is_valid_by_the_json_schema_of_the_compose_specification() -> None:
    assert [error.message for error in VALIDATOR.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("services", "audit", "readonly"), True, id="a word that is none"),
        pytest.param(("services", "audit", "restart"), ["always"], id="a list for a word"),
        pytest.param(("services", "audit", "build", "target"), 7, id="a number for a name"),
        pytest.param(
            ("services", "bus", "depends_on", "founding"), {"condition": "done"}, id="no such condition"
        ),
        pytest.param(("volumes",), ["state"], id="a list of volumes"),
    ],
)
def test_what_is_no_compose_file_is_noticed(path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(COMPOSE)
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(broken)


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {*FIVE, "founding", "bus", "database", "cli"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_built_from_its_own_target_of_the_one_dockerfile(service: str) -> None:
    build = SERVICES[service]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(ROOT / "deploy" / "Dockerfile")
    assert build["target"] == service
    assert SERVICES[service]["image"] == f"rekey-{service}:{_version()}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_runs_as_nobody_special_on_a_root_that_it_cannot_write(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["tmpfs"] == ["/tmp"]  # noqa: S108  of the container
    assert target(service).all("USER") == ["rekey"]
    assert not {"privileged", "cap_add", "user", "pid", "devices"} & set(described)


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_published(service: str) -> None:
    assert not {"ports", "expose"} & set(SERVICES[service])
    alone = {"founding": "none", "bus": None}
    assert SERVICES[service].get("network_mode") == alone.get(service, "service:bus")


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_in_an_environment(service: str) -> None:
    assert set(SERVICES[service].get("environment", {})) <= NO_SECRETS
    assert "env_file" not in SERVICES[service]
    assert [line for stage in ancestry(service) for line in (*stage.all("ENV"), *stage.all("ARG"))] == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_who_has_an_hsm_has_a_library_for_one_a_token_and_a_pin(service: str) -> None:
    has_hsm = service in WITH_HSM
    steps = " ".join(line for stage in ancestry(service) for line in stage.all("RUN"))
    assert ("softhsm2" in steps) is has_hsm
    assert ("SOFTHSM2_CONF" in SERVICES[service].get("environment", {})) is (
        has_hsm and service != "founding"
    )
    assert any("tokens/" in path for path in _subpaths(service)) is (has_hsm and service != "founding")
    wheels = select(_environment(service), members()).third_parties
    assert ("python-pkcs11" in wheels) is has_hsm


@pytest.mark.parametrize("service", set(SERVICES) - {"founding"})
def test_a_container_sees_its_own_part_of_the_state_alone(service: str) -> None:
    own = {"bus": {"bus"}, "database": {"database"}, "cli": {"people"}}.get(
        service, {f"services/{service}", f"tokens/{service}"}
    )
    assert _subpaths(service) <= own
    for volume in SERVICES[service]["volumes"]:
        assert volume["target"] == f"{STATE}/{volume['volume']['subpath']}"
        assert volume["source"] in COMPOSE["volumes"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_starts_what_its_own_environment_holds(service: str) -> None:
    program, *arguments = target(service).command
    environment = program.removeprefix(f"{INSTALLED}/").partition("/")[0]
    assert environment == _environment(service)
    assert environment == ("stack" if service == "founding" else service)
    if "-m" in arguments:
        module = arguments[arguments.index("-m") + 1]
        assert module.replace("_", "-") == ENVIRONMENTS[environment]
        assert list(ROOT.glob(f"*/*/src/{module}/__main__.py"))
    if "--settings" in arguments:
        settings = arguments[arguments.index("--settings") + 1]
        assert settings == f"{STATE}/services/{service}/settings.toml"


@pytest.mark.parametrize("service", SERVICES)
def test_who_waits_for_whom_exists_and_the_bus_is_healthy_first(service: str) -> None:
    waits = SERVICES[service].get("depends_on", {})
    assert set(waits) <= set(SERVICES)
    if service not in {"founding", "bus"}:
        assert waits == {"bus": {"condition": "service_healthy"}}


@pytest.mark.parametrize("service", ["bus", *FIVE])
def test_a_container_is_healthy_when_the_part_in_it_is_ready_by_the_port_that_founding_gives_it(
    service: str, tmp_path: Path
) -> None:
    first = target("founding").command
    plan = load_plan(Layout(tmp_path), int(first[first.index("--first-port") + 1]))
    kind, program, flag, code = SERVICES[service]["healthcheck"]["test"]
    assert (kind, program, flag) == ("CMD", f"{INSTALLED}/{service}/bin/python", "-c")
    wanted = {"bus": f"('127.0.0.1', {plan.bus_port})"} | {
        name: f"'{url}/readyz'" for name, url in plan.http_urls.items()
    }
    assert wanted[service] in code


def test_no_image_is_whatever_is_newest() -> None:
    bases = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    images = [service["image"] for service in SERVICES.values()]
    assert bases
    assert [image for image in (*bases, *images) if not re.fullmatch(r"[\w./-]+:\d[\w.-]*", image)] == []


def test_what_is_copied_into_a_build_exists_and_is_let_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for stage in STAGES.values():
        for line in stage.all("COPY"):
            *sources, _ = [word for word in line.split() if not word.startswith("--")]
            assert "--from" in line or all((ROOT / source).exists() for source in sources), line
            assert not set(sources) & set(ignored)
            assert all(name in STAGES for name in re.findall(r"--from=(\S+)", line))


def test_images_are_installed_from_hashes_alone() -> None:
    steps = [line for stage in STAGES.values() for line in stage.all("RUN")]
    installs = [step for step in steps if "pip install" in step]
    assert installs
    assert [step for step in installs if "--require-hashes" not in step] == []
    for service in SERVICES:
        (step,) = install_steps(target(service))
        assert step == [
            *("python", "deploy/environments.py", "--uv", "/uv/bin/uv"),
            *("--into", INSTALLED, "--installed", _environment(service)),
        ]


def _environment(service: str) -> str:
    (step,) = install_steps(target(service))
    return step[-1]


def _subpaths(service: str) -> set[str]:
    return {volume.get("volume", {}).get("subpath", "") for volume in SERVICES[service]["volumes"]}


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
