"""A renewal that dies leaves nothing that the next try, or the next start, does not finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.certificates import Certificate, Credentials, judge
from rekey_core.errors import ConfigurationError
from rekey_core.names import Service
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey, key_id
from rekey_local.ca import DevelopmentCa
from rekey_local.keys import found_signing_key, next_signing_key, take_over_signing_key
from rekey_local.layout import Layout
from rekey_local.renewal import unfinished

PATH = "service/generator"


def in_place(directory: Path) -> Certificate:
    """The pair as a service would judge it."""
    cert, key, ca = ((directory / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt"))
    return judge(Credentials(cert, Secret(key), ca), None)


@pytest.fixture
def ca(tmp_path: Path) -> DevelopmentCa:
    made = DevelopmentCa.found(tmp_path / "ca", "dev")
    made.issue_client(tmp_path, PATH)
    return made


def test_a_new_pair_is_of_the_same_identity_and_another_key(tmp_path: Path, ca: DevelopmentCa) -> None:
    before, key = in_place(tmp_path), (tmp_path / "tls.key").read_bytes()
    assert ca.renew_client(tmp_path, PATH) == in_place(tmp_path).fingerprint != before.fingerprint
    assert in_place(tmp_path).identity == before.identity
    assert (tmp_path / "tls.key").read_bytes() != key
    assert not list(tmp_path.glob("*.next"))


def dies_before_the_certificate(directory: Path, new: dict[str, bytes]) -> None:
    (directory / "tls.key.next").write_bytes(new["tls.key"])


def dies_before_the_first_is_in_place(directory: Path, new: dict[str, bytes]) -> None:
    for name, data in new.items():
        (directory / f"{name}.next").write_bytes(data)


def dies_between_the_two(directory: Path, new: dict[str, bytes]) -> None:
    dies_before_the_first_is_in_place(directory, new)
    (directory / "tls.key.next").replace(directory / "tls.key")


@pytest.mark.parametrize(
    ("dies", "usable"),
    [
        pytest.param(dies_before_the_certificate, True, id="with the key alone beside the old pair"),
        pytest.param(dies_before_the_first_is_in_place, True, id="with the new pair beside the old one"),
        pytest.param(dies_between_the_two, False, id="with half of it in its place"),
    ],
)
@pytest.mark.parametrize("then", ["renewed again", "started again"])
def test_a_certificate_half_renewed_is_finished(
    tmp_path: Path, ca: DevelopmentCa, dies: object, then: str, *, usable: bool
) -> None:
    other = tmp_path / "other"
    ca.issue_client(other, PATH)
    assert callable(dies)
    dies(tmp_path, {name: (other / name).read_bytes() for name in ("tls.key", "tls.crt")})
    if not usable:
        with pytest.raises(ConfigurationError):
            in_place(tmp_path)
    if then == "renewed again":
        assert ca.renew_client(tmp_path, PATH) == in_place(tmp_path).fingerprint
    else:
        ca.issue_client(tmp_path, PATH)  # what a start does where there is one
    assert in_place(tmp_path).identity.endswith(PATH)
    assert not (tmp_path / "tls.crt.next").exists()


def test_a_signing_key_to_come_is_made_once_and_then_takes_the_place(tmp_path: Path) -> None:
    old = found_signing_key(tmp_path)
    new = next_signing_key(tmp_path)
    assert next_signing_key(tmp_path) == new != old
    assert found_signing_key(tmp_path) == old, "a start in between changes nothing"
    take_over_signing_key(tmp_path)
    take_over_signing_key(tmp_path)
    assert found_signing_key(tmp_path) == new
    assert SigningKey.from_pem((tmp_path / "signing.key").read_bytes()).key_id == key_id(new)
    assert {file.name for file in tmp_path.iterdir()} == {"signing.key", "signing.pub"}


def test_only_what_an_earlier_try_left_is_done_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for service in Service:
        found_signing_key(layout.service(service))
    assert unfinished(layout, list(Service)) == list(Service)
    next_signing_key(layout.service(Service.AUDIT))
    assert unfinished(layout, list(Service)) == [Service.AUDIT]
