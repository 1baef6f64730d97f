"""Both tokens of a running stack are lost, and people found fresh ones as ``deploy/backup/README.md`` says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from rekey_ceremony import CeremonyPlan, TokenPlan, perform
from rekey_ceremony.softhsm import CONFIGURATION
from rekey_core.names import Service
from rekey_core.secret import Secret
from rekey_local.environments import softhsm
from rekey_local.layout import write_private
from rekey_local.plan import DEPENDENTS
from rekey_local.settings import SETTINGS_FILE
from rekey_local.toml import to_toml
from tests.system.stack import RunningStack

TOKENS: Final = (Service.GENERATOR, Service.DISTRIBUTOR)


def lose_tokens(stack: RunningStack) -> None:
    """Their services stop, and what the tokens held is gone."""
    for service in TOKENS:
        stack.hold(service)
        shutil.rmtree(stack.layout.token(service))


def found_tokens(stack: RunningStack, epoch: int) -> None:
    """The offline token wraps for the fresh distributor's in this epoch; a fresh generator's does from the next one on."""
    layout, env = stack.layout, stack.plan.env
    generator = _token(stack, Service.GENERATOR, layout.ceremony / "generator-so-pin")
    distributor = _token(stack, Service.DISTRIBUTOR, layout.enrolment / "so-pin")
    offline = TokenPlan(
        layout.token("backup"),
        "backup",
        _pin(layout.ceremony / "backup-pin"),
        _pin(layout.ceremony / "backup-so-pin"),
    )
    perform(CeremonyPlan(env, epoch, softhsm(), offline, distributor))
    report = perform(CeremonyPlan(env, epoch + 1, softhsm(), generator, distributor, offline, epoch + 1))
    serials = {Service.GENERATOR: report.generator.serial, Service.DISTRIBUTOR: report.distributor.serial}
    for service in TOKENS:
        _set(layout.service(service) / SETTINGS_FILE, token_serial=serials[service])
    _set(layout.service(Service.GENERATOR) / SETTINGS_FILE, backup_epoch=epoch + 1)
    _set(layout.enrolment / SETTINGS_FILE, token_serial=serials[Service.DISTRIBUTOR])
    for name, owner in DEPENDENTS.items():
        _trust(stack, name, owner)


def _trust(stack: RunningStack, name: str, owner: str) -> None:
    """Enrolled already, so that only the fresh token learns its transport key."""
    layout, files = stack.layout, stack.layout.dependent(name)
    subprocess.run(
        [
            *(sys.executable, "-m", "rekey_enrolment", "--settings", str(layout.enrolment / SETTINGS_FILE)),
            *("enrol", name, "--owner", owner, "--signing-key", str(files / "signing.pub")),
            *("--transport-key", str(files / "transport.spki")),
        ],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "SOFTHSM2_CONF": str(layout.token(Service.DISTRIBUTOR) / CONFIGURATION)},
    )


def _token(stack: RunningStack, service: Service, so_pin: Path) -> TokenPlan:
    layout = stack.layout
    return TokenPlan(
        layout.token(service), service.value, _pin(layout.service(service) / "pin"), _pin(so_pin)
    )


def _pin(file: Path) -> Secret:
    return Secret(file.read_bytes().strip())


def _set(file: Path, **values: str | int) -> None:
    write_private(file, to_toml(tomllib.loads(file.read_text()) | values))
