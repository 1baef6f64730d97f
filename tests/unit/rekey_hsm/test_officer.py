"""Marking a transport key as trusted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rekey_core.errors import AlreadyExistsError, HsmError, SchemaError
from rekey_core.secret import Secret
from rekey_hsm import GeneratorHsm
from rekey_hsm.officer import EnrolledKey, enrol_transport_key
from tests.hsm_tokens import MODULE, RECIPIENT, Tokens, spki_of


@dataclass(frozen=True)
class Officer:
    tokens: Tokens

    def enrol(
        self, dependent: str, spki: bytes, *, pin: Secret | None = None, serial: str = ""
    ) -> EnrolledKey:
        token = self.tokens.distributor
        return enrol_transport_key(
            module=MODULE,
            token_label=token.label,
            serial=serial or token.serial,
            so_pin=pin or self.tokens.distributor_so_pin,
            dependent=dependent,
            spki_der=spki,
        )


@pytest.fixture
def officer(tokens: Tokens) -> Officer:
    return Officer(tokens)


def test_the_same_key_again_is_no_change(officer: Officer, tokens: Tokens) -> None:
    again = officer.enrol(RECIPIENT, tokens.spki)
    assert again == EnrolledKey("transport-orders", hashlib.sha256(tokens.spki).hexdigest(), changed=False)


def test_another_key_under_the_name_is_refused(officer: Officer, tokens: Tokens) -> None:
    other = spki_of(rsa.generate_private_key(public_exponent=65537, key_size=3072))
    with pytest.raises(AlreadyExistsError, match=f"found {tokens.spki_sha256}"):
        officer.enrol(RECIPIENT, other)
    assert not officer.enrol(RECIPIENT, tokens.spki).changed


@pytest.mark.parametrize(
    ("spki", "says"),
    [
        pytest.param(
            lambda: spki_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            "2048",
            id="RSA-2048",
        ),
        pytest.param(
            lambda: (
                ec.generate_private_key(ec.SECP256R1())
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ),
            "expected RSA",
            id="P-256",
        ),
        pytest.param(lambda: b"not a key", "not a DER", id="no key"),
    ],
)
def test_what_is_no_transport_key_is_refused(officer: Officer, spki: object, says: str) -> None:
    assert callable(spki)
    with pytest.raises(SchemaError, match=says):
        officer.enrol("billing", spki())


def test_nobody_but_the_officer_enrols(officer: Officer, tokens: Tokens) -> None:
    with pytest.raises(HsmError, match="refuses the security officer's PIN"):
        officer.enrol("billing", tokens.spki, pin=tokens.distributor.pin)
    with pytest.raises(HsmError, match="expected 00"):
        officer.enrol("billing", tokens.spki, serial="00")


async def test_a_service_that_is_logged_in_keeps_the_officer_out(
    officer: Officer, tokens: Tokens, generator_hsm: GeneratorHsm
) -> None:
    with pytest.raises(HsmError, match="while the security officer logs in"):
        enrol_transport_key(
            module=MODULE,
            token_label=tokens.generator.label,
            serial=tokens.generator.serial,
            so_pin=Secret(b"officer-gen-shared"),
            dependent="billing",
            spki_der=officer.tokens.spki,
        )
    await generator_hsm.prove()
