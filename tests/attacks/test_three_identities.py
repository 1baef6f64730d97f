"""Provisioner, ceremony and enrolment: three short-lived identities, none of which can do another's job (DESIGN §2).

What each identity may publish and read on the bus is tried in test_permissions.py; here it is tried with what lies in each
identity's directory of a founded environment.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nats
import nats.errors
import pytest

from rekey_local.environments import softhsm
from rekey_local.plan import SERVER_NAME
from tests.system.stack import RunningStack, running_stack

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
LOG_IN: Final = """
import sys, pkcs11
module, label, pin = sys.argv[1], sys.argv[2], sys.stdin.read()
token = pkcs11.lib(module).get_token(token_label=label)
try:
    token.open(user_pin=pin)
except pkcs11.exceptions.PinIncorrect:
    sys.exit(42)
"""
REFUSED: Final = 42


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("identities"), registered=False, instances=False) as running:
        yield running


def files(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir() if file.is_file()}


def log_in(stack: RunningStack, token: str, pin: bytes) -> int:
    """Try to use a token as its user, in a process of its own."""
    conf = stack.layout.token(token) / "softhsm2.conf"
    command = (sys.executable, "-c", LOG_IN, str(softhsm()), token)
    return subprocess.run(
        command, input=pin, env=os.environ | {"SOFTHSM2_CONF": str(conf)}, check=False, capture_output=True
    ).returncode


def test_each_identity_has_only_what_its_job_needs(stack: RunningStack) -> None:
    layout = stack.layout
    certificate = {"ca.crt", "tls.crt", "tls.key"}
    assert files(layout.provisioner) - {"trust.1.json"} == certificate | {"database.password"}
    assert files(layout.enrolment) == certificate | {"settings.toml", "so-pin"}
    assert files(layout.backup) == certificate | {"settings.toml", "token.toml"}
    offline = {"backup-pin", "backup-so-pin"}  # of the token that no service has
    assert files(layout.ceremony) == {"generator-so-pin", "report.json", "settings.json"} | offline
    for name in ("rotation-scheduler", "revocation", "audit"):
        assert "pin" not in files(layout.service(name))


def test_no_service_opens_the_offline_token(stack: RunningStack) -> None:
    assert log_in(stack, "backup", (stack.layout.ceremony / "backup-pin").read_bytes()) == 0
    for service in ("generator", "distributor"):
        assert log_in(stack, "backup", (stack.layout.service(service) / "pin").read_bytes()) == REFUSED


def test_a_users_pin_opens_its_own_token_only(stack: RunningStack) -> None:
    for service in ("generator", "distributor"):
        pin = (stack.layout.service(service) / "pin").read_bytes()
        other = "distributor" if service == "generator" else "generator"
        assert log_in(stack, service, pin) == 0
        assert log_in(stack, other, pin) == REFUSED


def test_enrolment_cannot_use_the_keys_of_the_token_on_which_it_marks_others_trusted(
    stack: RunningStack,
) -> None:
    so_pin = (stack.layout.enrolment / "so-pin").read_bytes()
    assert log_in(stack, "distributor", so_pin) == REFUSED
    assert log_in(stack, "generator", so_pin) == REFUSED


async def test_the_ceremony_cannot_reach_the_bus(stack: RunningStack) -> None:
    """It has no certificate; with the server's own CA as its only file the handshake is refused."""
    context = ssl.create_default_context(cafile=str(stack.layout.bus / "ca.crt"))
    with pytest.raises((nats.errors.Error, ConnectionError, ssl.SSLError)):
        await nats.connect(
            stack.plan.bus_url,
            tls=context,
            tls_hostname=SERVER_NAME,
            allow_reconnect=False,
            connect_timeout=5,
        )


def test_the_provisioner_has_no_code_for_a_token() -> None:
    project = tomllib.loads((DEPLOY / "provision" / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if "hsm" in name or "pkcs11" in name]
    sources = (DEPLOY / "provision" / "src").rglob("*.py")
    assert not [source for source in sources if "rekey_hsm" in source.read_text()]
