"""Founding: everything that exists before the first process starts. Each step done twice changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rekey_ceremony import CeremonyPlan, CeremonyReport, TokenPlan, TokenReport, perform
from rekey_ceremony.softhsm import prepare
from rekey_core.contracts import SignedTrust
from rekey_core.names import Service
from rekey_core.secret import Secret
from rekey_local.ca import DevelopmentCa
from rekey_local.keys import found_pin, found_signing_key, found_ssh_key, found_transport_key
from rekey_local.layout import Layout, write_private
from rekey_local.plan import BACKUP_EPOCH, DEPENDENTS, EPOCH, PEOPLE
from rekey_local.trust import found_genesis

_BACKUP: Final = "backup"  # the third token


def found_identities(layout: Layout, env: str) -> SignedTrust:
    """CA, certificates, signing keys, SSH keys; returns the trust document that names them."""
    _certificates(layout, DevelopmentCa.found(layout.ca, env))
    services = {service: found_signing_key(layout.service(service)) for service in Service}
    for dependent in DEPENDENTS:
        found_signing_key(layout.dependent(dependent))
    return found_genesis(layout, env, services, _ssh_keys(layout))


def found_transport_keys(layout: Layout) -> None:
    """Each dependent's RSA key, made at the same time: they take long."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: found_transport_key(layout.dependent(name)), DEPENDENTS))


def hold_ceremony(layout: Layout, env: str, module: Path) -> CeremonyReport:
    """Found the three tokens once; later the report of that time is read back.

    Where SoftHSM finds them is written at every start: the state directory may have been moved or copied.

    Raises:
        HsmError: the tokens could not be made, or their halves do not match.
    """
    file = layout.ceremony / "report.json"
    if not file.exists():
        report = perform(
            CeremonyPlan(
                env=env,
                epoch=EPOCH,
                module=module,
                generator=_token(layout, Service.GENERATOR, layout.ceremony / "generator-so-pin"),
                distributor=_token(layout, Service.DISTRIBUTOR, layout.enrolment / "so-pin"),
                backup=_backup_token(layout),
                backup_epoch=BACKUP_EPOCH,
            )
        )
        tokens = {
            "generator": report.generator,
            "distributor": report.distributor,
            _BACKUP: report.backup,
        }
        write_private(file, json.dumps({name: _flat(token) for name, token in tokens.items() if token}))
    found = json.loads(file.read_bytes())
    generator, distributor, backup = (
        _token_report(layout, name, found[name])
        for name in (Service.GENERATOR.value, Service.DISTRIBUTOR.value, _BACKUP)
    )
    return CeremonyReport(generator, distributor, keys=(), backup=backup)


def _certificates(layout: Layout, ca: DevelopmentCa) -> None:
    ca.issue_server(layout.bus)
    ca.issue_client(layout.provisioner, "provisioner")
    ca.issue_client(layout.enrolment, "enrolment")
    ca.issue_client(layout.backup, "backup")
    for service in Service:
        ca.issue_client(layout.service(service), f"service/{service.value}")
    for person in PEOPLE:
        ca.issue_client(layout.person(person), f"person/{person}")
    for dependent in DEPENDENTS:
        ca.issue_client(layout.dependent(dependent), f"application/{dependent}")


def _ssh_keys(layout: Layout) -> Mapping[str, str]:
    with ThreadPoolExecutor() as pool:
        return dict(
            zip(PEOPLE, pool.map(lambda name: found_ssh_key(layout.person(name), name), PEOPLE), strict=True)
        )


def _token(layout: Layout, service: Service, so_pin: Path) -> TokenPlan:
    return TokenPlan(
        directory=layout.token(service),
        label=service.value,
        user_pin=Secret(found_pin(layout.service(service) / "pin")),
        so_pin=Secret(found_pin(so_pin)),
    )


def _backup_token(layout: Layout) -> TokenPlan:
    """The third token: its PINs lie with the ceremony's people, no service has one."""
    return TokenPlan(
        directory=layout.token(_BACKUP),
        label=_BACKUP,
        user_pin=Secret(found_pin(layout.ceremony / "backup-pin")),
        so_pin=Secret(found_pin(layout.ceremony / "backup-so-pin")),
    )


def _flat(report: TokenReport) -> dict[str, str]:
    return {"label": report.label, "serial": report.serial}


def _token_report(layout: Layout, name: str, flat: Mapping[str, str]) -> TokenReport:
    return TokenReport(flat["label"], flat["serial"], prepare(layout.token(name)), made=False)
