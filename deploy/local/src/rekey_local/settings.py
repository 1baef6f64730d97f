"""The settings file of each process; written at every start, with the ports and token serials of now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekey_ceremony import CeremonyReport, TokenReport
from rekey_core.names import Service
from rekey_local.database import service_database
from rekey_local.layout import Layout, private_directory, write_private
from rekey_local.plan import BACKUP_EPOCH, HOST, INSTANCES, PEOPLE, SERVER_NAME, Plan
from rekey_local.toml import Value, to_toml

SETTINGS_FILE: Final = "settings.toml"
OFFLINE_FILE: Final = "token.toml"  # of the people who have the offline token
CEREMONY_FILE: Final = "settings.json"  # of the people who hold the ceremony
SPANS_FILE: Final = "spans.jsonl"  # in each state directory; the services' own name for it


@dataclass(frozen=True)
class Founded:
    """What the settings are made of."""

    layout: Layout
    plan: Plan
    genesis: str  # SHA-256 hex of the first trust document
    module: Path  # the PKCS#11 library
    tokens: CeremonyReport


def write_settings(founded: Founded) -> None:
    """Write the settings of services, dependents' instances, people and enrolment."""
    for service in Service:
        _write(service_settings(founded.layout, service), _service(founded, service))
    for dependent in founded.plan.every_dependent:
        write_instances(founded, dependent)
    for person in PEOPLE:
        _write(context(founded.layout, person), _person(founded, person))
    _write(founded.layout.enrolment / SETTINGS_FILE, _enrolment(founded))
    write_private(
        founded.layout.ceremony / CEREMONY_FILE, json.dumps(_ceremony(founded), default=str, indent=2)
    )
    _write(founded.layout.backup / SETTINGS_FILE, _common(founded, founded.layout.backup))
    if founded.tokens.backup is not None:
        _write(founded.layout.backup / OFFLINE_FILE, _offline(founded, founded.tokens.backup))


def write_instances(founded: Founded, dependent: str) -> None:
    """Write the settings of a dependent's instances."""
    for number in range(1, INSTANCES + 1):
        _write(instance_settings(founded.layout, dependent, number), _instance(founded, dependent, number))


def service_settings(layout: Layout, service: Service) -> Path:
    """Where a service's settings are."""
    return layout.service(service) / SETTINGS_FILE


def instance_settings(layout: Layout, dependent: str, number: int) -> Path:
    """Where an instance's settings are: same identity as its siblings, a state directory of its own."""
    return layout.dependent(dependent) / f"settings-{number}.toml"


def context(layout: Layout, person: str) -> Path:
    """Where a person's context for the command line is."""
    return layout.person(person) / "context.toml"


def _service(founded: Founded, service: Service) -> dict[str, Value]:
    directory = founded.layout.service(service)
    values: dict[str, Value] = {
        **_common(founded, directory),
        "service": service.value,
        "signing_key": directory / "signing.key",
        "state_dir": private_directory(directory / "state"),
        "http_host": HOST,
        "http_port": founded.plan.http_ports[service],
    }
    tokens = {Service.GENERATOR: founded.tokens.generator, Service.DISTRIBUTOR: founded.tokens.distributor}
    if service in tokens:
        values |= _token(founded, tokens[service])
        values["pin_file"] = directory / "pin"
    if service is Service.GENERATOR:
        values["backup_epoch"] = BACKUP_EPOCH
    database = service_database(founded.layout, service)
    if database is not None:
        values["database"] = database
    return values


def _instance(founded: Founded, dependent: str, number: int) -> dict[str, Value]:
    directory = founded.layout.dependent(dependent)
    return {
        **_common(founded, directory),
        "dependent": dependent,
        "signing_key": directory / "signing.key",
        "transport_key": directory / "transport.key",
        "state_dir": private_directory(directory / f"state-{number}"),
        "trace_file": directory / f"state-{number}" / SPANS_FILE,
    }


def _person(founded: Founded, person: str) -> dict[str, Value]:
    directory = founded.layout.person(person)
    return {
        **_common(founded, directory),
        "person": person,
        "ssh_key": directory / "id_ed25519",
        "state_dir": private_directory(directory / "state"),
        "trace_file": directory / "state" / SPANS_FILE,
        "services": founded.plan.http_urls,
    }


def _enrolment(founded: Founded) -> dict[str, Value]:
    directory = founded.layout.enrolment
    return {
        **_common(founded, directory),
        **_token(founded, founded.tokens.distributor),
        "so_pin_file": directory / "so-pin",
    }


def _ceremony(founded: Founded) -> dict[str, object]:
    """What a later epoch is founded with: the tokens of both services, without the offline one."""
    layout, tokens = founded.layout, founded.tokens
    sides = (
        (Service.GENERATOR, tokens.generator, layout.ceremony / "generator-so-pin"),
        (Service.DISTRIBUTOR, tokens.distributor, layout.enrolment / "so-pin"),
    )
    return {"env": founded.plan.env, "module": founded.module, "trust_genesis": founded.genesis} | {
        service.value: {
            "directory": token.softhsm_conf.parent,
            "label": token.label,
            "user_pin_file": layout.service(service) / "pin",
            "so_pin_file": so_pin,
        }
        for service, token, so_pin in sides
    }


def _offline(founded: Founded, token: TokenReport) -> dict[str, Value]:
    return {
        "env": founded.plan.env,
        "trust_genesis": founded.genesis,
        **_token(founded, token),
        "token_directory": token.softhsm_conf.parent,
        "pin_file": founded.layout.ceremony / "backup-pin",
        "so_pin_file": founded.layout.ceremony / "backup-so-pin",
    }


def _common(founded: Founded, directory: Path) -> Mapping[str, Value]:
    return {
        "env": founded.plan.env,
        "bus_url": founded.plan.bus_url,
        "server_name": SERVER_NAME,
        "tls_cert": directory / "tls.crt",
        "tls_key": directory / "tls.key",
        "tls_ca": directory / "ca.crt",
        "trust_genesis": founded.genesis,
    }


def _token(founded: Founded, token: TokenReport) -> Mapping[str, Value]:
    return {"hsm_module": founded.module, "token_label": token.label, "token_serial": token.serial}


def _write(file: Path, values: Mapping[str, Value]) -> None:
    write_private(file, to_toml(values))
