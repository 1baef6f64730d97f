"""What founding leaves on disk: private, complete, and the same when it is done again."""

from __future__ import annotations

import json
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from rekey_ceremony import CeremonyReport, TokenReport
from rekey_ceremony.softhsm import prepare
from rekey_core.names import Role, Service
from rekey_core.trust import Trust
from rekey_local import bus
from rekey_local.errors import DamagedError, RunningError
from rekey_local.found import found_identities, hold_ceremony
from rekey_local.layout import Layout, write_private
from rekey_local.lock import exclusively, forget
from rekey_local.plan import DEPENDENTS, HOST, PEOPLE, Plan, load_plan
from rekey_local.settings import Founded, context, instance_settings, service_settings, write_settings
from rekey_local.toml import Value, to_toml
from rekey_local.trust import genesis_hash

ENV = "dev"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    layout = Layout(tmp_path_factory.mktemp("stack"))
    genesis = found_identities(layout, ENV)
    token = TokenReport("token", "0123456789abcdef", layout.root / "softhsm2.conf", made=True)
    http_ports = {service: 8080 + n for n, service in enumerate(Service)}
    plan = Plan(bus_port=4222, http_ports=http_ports, database_port=5432)
    module = Path("/lib/pkcs11.so")
    one = Founded(layout, plan, genesis_hash(genesis), module, CeremonyReport(token, token, keys=()))
    write_settings(one)
    return one


def test_nobody_else_can_read_anything(founded: Founded) -> None:
    assert [path for path in founded.layout.root.rglob("*") if path.stat().st_mode & 0o077] == []


def test_each_directory_holds_the_secrets_of_one_identity(founded: Founded) -> None:
    keys = {path: path.read_bytes() for path in founded.layout.root.rglob("*.key")}

    assert len(set(keys.values())) == len(keys)
    assert {path.name for path in founded.layout.service(Service.AUDIT).iterdir()} == {
        "ca.crt",
        "settings.toml",
        "signing.key",
        "signing.pub",
        "state",
        "tls.crt",
        "tls.key",
    }


@pytest.mark.parametrize(
    ("directory", "uri"),
    [
        pytest.param("services/generator", "spiffe://rekey.dev/service/generator", id="a service"),
        pytest.param("dependents/orders", "spiffe://rekey.dev/application/orders", id="a dependent"),
        pytest.param("people/rita", "spiffe://rekey.dev/person/rita", id="a person"),
        pytest.param("enrolment", "spiffe://rekey.dev/enrolment", id="enrolment"),
        pytest.param("provisioner", "spiffe://rekey.dev/provisioner", id="the provisioner"),
    ],
)
def test_a_certificate_names_its_identity(founded: Founded, directory: str, uri: str) -> None:
    certificate = x509.load_pem_x509_certificate((founded.layout.root / directory / "tls.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((founded.layout.ca / "ca.crt").read_bytes())

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [uri]
    certificate.verify_directly_issued_by(authority)


def test_the_first_trust_document_is_signed_and_names_services_and_people_but_no_dependent(
    founded: Founded,
) -> None:
    genesis = found_identities(founded.layout, ENV)

    document = Trust.from_chain((genesis,), genesis=founded.genesis, env=ENV).document

    assert set(document.services) == set(Service)
    assert {name: person.roles for name, person in document.people.items()} == {
        "alice": (Role.OWNER,),
        "otto": (Role.OWNER,),
        "oliver": (Role.TRUST_OFFICER,),
        "olga": (Role.TRUST_OFFICER,),
        "odile": (Role.TRUST_OFFICER,),
        "rita": (Role.RESPONDER,),
        "adam": (Role.AUDITOR,),
    }
    assert document.dependents == {}
    assert document.quorum == 2
    assert {signature.person for signature in genesis.signatures} == {"oliver", "olga", "odile"}


def test_founding_again_changes_nothing(founded: Founded) -> None:
    before = contents(founded.layout.root)

    found_identities(founded.layout, ENV)
    write_settings(founded)

    assert contents(founded.layout.root) == before


def test_the_tokens_are_found_where_the_state_directory_is_now(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "before")
    names = ("generator", "distributor", "backup")
    for name in names:
        prepare(layout.token(name))
    report = {name: {"label": name, "serial": "0123456789abcdef"} for name in names}
    write_private(layout.ceremony / "report.json", json.dumps(report))
    moved = Layout(layout.root.rename(tmp_path / "after"))

    tokens = hold_ceremony(moved, ENV, Path("/lib/pkcs11.so"))

    for name, token in zip(names, (tokens.generator, tokens.distributor, tokens.backup), strict=True):
        assert token is not None
        assert token.softhsm_conf == moved.token(name) / "softhsm2.conf"
        assert f"directories.tokendir = {moved.token(name)}/tokens\n" in token.softhsm_conf.read_text()


def test_every_process_pins_the_same_first_trust_document(founded: Founded) -> None:
    layout = founded.layout
    files = [service_settings(layout, service) for service in Service]
    files += [instance_settings(layout, dependent, 1) for dependent in DEPENDENTS]
    files += [context(layout, person) for person in PEOPLE]

    assert {tomllib.loads(file.read_text())["trust_genesis"] for file in files} == {founded.genesis}


def test_only_services_with_a_token_have_a_pin_and_only_enrolment_the_officers(founded: Founded) -> None:
    settings = {s: tomllib.loads(service_settings(founded.layout, s).read_text()) for s in Service}

    assert {s for s, values in settings.items() if "pin_file" in values} == {
        Service.GENERATOR,
        Service.DISTRIBUTOR,
    }
    assert not any("so_pin_file" in values for values in settings.values())


def test_text_survives_being_written_as_toml() -> None:
    values: dict[str, Value] = {
        "path": Path("/a b/ü"),
        "text": 'quote " and \\ and\nnewline',
        "number": 3,
        "share": 0.5,
        "yes": True,
    }

    assert tomllib.loads(to_toml(values)) == values | {"path": "/a b/ü"}


def test_ports_stay_the_same_until_one_is_taken(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = load_plan(layout)

    assert load_plan(layout) == first
    with socket.create_server((HOST, first.bus_port)):
        second = load_plan(layout)
    assert second.bus_port != first.bus_port
    assert load_plan(layout) == second


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{\n", id="cut off"),
        pytest.param('{"env": "dev", "bus_port": "many"}', id="another content"),
        pytest.param("\x00", id="no text"),
    ],
)
def test_a_damaged_plan_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(DamagedError, match=r"plan\.json: expected a plan") as caught:
        load_plan(layout)
    assert "--fresh" in str(caught.value.hint)


def test_a_state_directory_has_one_supervisor(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "stack")

    with exclusively(layout):
        with pytest.raises(RunningError, match=r"is in use by process \d+"), exclusively(layout):
            pytest.fail("two supervisors had the same state")
        (layout.root / "old").mkdir()
        (layout.root / "plan.json").write_text("{}")
        forget(layout)
        assert list(layout.root.iterdir()) == [layout.lock]
    with exclusively(layout):
        assert layout.lock.read_text().strip().isdigit()


def contents(root: Path) -> dict[str, bytes]:
    """Every file below."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lost(file: Path) -> None:
    file.unlink()


def altered(file: Path) -> None:
    file.write_bytes(b"0" * len(file.read_bytes()))


@pytest.mark.parametrize("happens", [lost, altered])
def test_the_bus_does_not_start_under_another_key_at_rest(
    founded: Founded, tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    layout = Layout(tmp_path)
    bus.render(layout, founded.plan)
    bus.render(layout, founded.plan)
    key = layout.bus / "store.key"
    right = key.read_bytes()
    happens(key)
    with pytest.raises(DamagedError, match="is not the key under which the streams"):
        bus.render(layout, founded.plan)
    key.write_bytes(right)
    bus.render(layout, founded.plan)
