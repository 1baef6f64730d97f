"""The verifier that the server keeps, and what things are called in the database."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from rekey_core.projections import PROJECTIONS, database_name
from rekey_core.secret import Secret
from rekey_provision.database import scram_verifier

# RFC 7677 §3: user "user", password "pencil"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
AUTH_MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_verifier_accepts_the_proof_of_rfc_7677_and_answers_as_it_says() -> None:
    kind, iterations_salt, keys = scram_verifier(Secret(b"pencil"), SALT).split("$")
    stored, server = (base64.b64decode(part) for part in keys.split(":"))
    assert (kind, iterations_salt) == ("SCRAM-SHA-256", f"4096:{base64.b64encode(SALT).decode()}")
    signature = hmac.digest(stored, AUTH_MESSAGE, "sha256")
    client = bytes(a ^ b for a, b in zip(base64.b64decode(PROOF), signature, strict=True))
    assert hashlib.sha256(client).digest() == stored
    assert base64.b64encode(hmac.digest(server, AUTH_MESSAGE, "sha256")).decode() == SERVER_SIGNATURE


def test_the_verifier_does_not_hold_the_password() -> None:
    assert "pencil" not in scram_verifier(Secret(b"pencil"), SALT)


def test_names_in_the_database_are_words_of_sql() -> None:
    assert database_name("prod-eu") == "rekey_prod_eu"
    assert [p.role("prod-eu") for p in PROJECTIONS] == [
        "rekey_prod_eu_audit",
        "rekey_prod_eu_rotation_scheduler",
    ]


@pytest.mark.parametrize("env", ["", "Prod", "a_b", 'x"; DROP', "e" * 39])
def test_a_name_that_would_be_none_is_refused(env: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        database_name(env)
