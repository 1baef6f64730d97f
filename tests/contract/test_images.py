"""The images and the compose file hold the same separation as the environments: by text, no engine needed."""

import re

import pytest

from deploy.environments import ENVIRONMENTS, ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES = ("generator", "distributor", "rotation-scheduler", "revocation", "audit")


def _block(service: str) -> str:
    found = re.search(rf"^  {service}:\n(?:(?:    .*)?\n)+", COMPOSE, re.MULTILINE)
    assert found is not None, service
    return found[0]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_from_the_image_of_its_own_environment(service: str) -> None:
    block = _block(service)
    assert f"ENVIRONMENT: {service} }}" in block
    assert f"/opt/rekey/env/{service}/bin/python, -m, rekey_{service.replace('-', '_')}, --settings" in block
    assert service in ENVIRONMENTS


@pytest.mark.parametrize("service", SERVICES)
def test_only_generator_and_distributor_have_an_hsm_library_and_a_token(service: str) -> None:
    has_hsm = service in {"generator", "distributor"}
    assert ("target: hsm" in _block(service)) is has_hsm
    assert ("/tokens/" in _block(service)) is has_hsm


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sees_its_own_part_of_the_state_alone(service: str) -> None:
    subpaths = set(re.findall(r"subpath: ([\w/-]+)", _block(service)))
    mounts = re.findall(r"type: volume", _block(service))
    assert subpaths <= {f"services/{service}", f"tokens/{service}"}
    assert len(subpaths) == len(mounts) > 0


def test_the_plain_image_has_no_hsm_library() -> None:
    before_hsm, hsm = DOCKERFILE.split("AS hsm")
    assert "softhsm" not in before_hsm.split("AS service")[1]
    assert "softhsm2" in hsm


def test_images_are_installed_from_hashes_alone() -> None:
    assert "--require-hashes -r deploy/uv.lock.txt" in DOCKERFILE
    assert re.findall(r"pip install(?!.*--require-hashes)", DOCKERFILE) == []
