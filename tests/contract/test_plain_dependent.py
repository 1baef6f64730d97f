"""The service without the SDK: it imports nothing of rekey, and refuses what is not genuine.

Messages are made here by rekey's own code and opened by the service's, which knows nothing but the contract's words.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import json
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.environments import ROOT
from rekey_core.contracts import TRUST_NAMESPACE, OfficerSignature, Person, SignedTrust, Stop, TrustDocument
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import pack
from rekey_core.names import Role, Service
from rekey_core.signing import SigningKey
from rekey_core.sshsig import public_key_of, sign
from rekey_core.trust import payload_of
from tests.system import plain_beliefs as plain
from tests.system.plain_dependent import Contract

FILES = [ROOT / "tests" / "system" / f"plain_{name}.py" for name in ("dependent", "beliefs")]
THIRD_PARTIES = {"cryptography", "faststream", "nats"}
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CONTRACT = json.loads((ROOT / "deploy" / "asyncapi.json").read_text())


def test_it_imports_nothing_of_rekey() -> None:
    nodes = [node for file in FILES for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names - {"tests.system.plain_beliefs"}}
    assert tops - set(sys.stdlib_module_names) <= THIRD_PARTIES
    assert not tops & {"importlib", "runpy"}


def test_its_subjects_are_the_contract_s() -> None:
    contract = Contract(CONTRACT, "dev", "orders")
    assert contract.subject("poke.ntc") == "poke.ntc.dev.orders.*"
    assert contract.subject("stop", key="orders-db") == "stop.dev.orders.orders-db"
    assert contract.stream("ntc") == "NOTICES"
    assert contract.type_of("stop") == "rekey.stop.v1"


KEY, OTHER = SigningKey.generate(), SigningKey.generate()
STOP = pack(
    Stop(env="dev", dependent="orders", key="k", at=NOW, stopped=()), KEY, source="/rekey/dev/revocation"
)


def opened(**changes: Any) -> dict[str, Any]:
    found = {
        "kind": STOP.headers["ce-type"],
        "body": STOP.data,
        "key_id": STOP.headers["ce-dssekeyid"],
        "signature": STOP.headers["ce-dssesignature"],
        "keys": [OTHER.public_raw, KEY.public_raw],
    }
    return plain.opened(**(found | changes))


def test_a_genuine_message_is_opened() -> None:
    assert opened()["dependent"] == "orders"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"body": STOP.data.replace(b"orders", b"others")}, id="an altered body"),
        pytest.param({"kind": "rekey.notice.v1"}, id="another type"),
        pytest.param({"signature": b64u_encode(bytes(64))}, id="another signature"),
        pytest.param({"keys": [OTHER.public_raw]}, id="a key that is not the author's"),
        pytest.param({"key_id": OTHER.key_id}, id="another key's id"),
        pytest.param({"keys": []}, id="an author without keys"),
    ],
)
def test_what_is_not_genuine_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(plain.NotGenuineError):
        opened(**changes)


def ssh_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


OFFICERS = {name: ssh_key() for name in ("olga", "oliver")}
STRANGER = ssh_key()


def document(n: int, previous: str | None, **changes: object) -> bytes:
    people = {
        name: Person(ssh_keys=(public_key_of(key),), roles=(Role.TRUST_OFFICER,), scopes=())
        for name, key in OFFICERS.items()
    }
    people["alice"] = Person(ssh_keys=(public_key_of(STRANGER),), roles=(Role.OWNER,), scopes=("*",))
    made = TrustDocument(
        env="dev",
        n=n,
        previous=previous,
        issued_at=NOW,
        quorum=2,
        services={Service.DISTRIBUTOR: (b64u_encode(KEY.public_raw),)},
        people=people,
        dependents={},
    )
    return payload_of(made.model_copy(update=changes))


def signed(payload: bytes, **keys: bytes) -> dict[str, Any]:
    signatures = tuple(
        OfficerSignature(person=name, sshsig=sign(key, payload, TRUST_NAMESPACE))
        for name, key in keys.items()
    )
    return SignedTrust(payload=b64u_encode(payload), signatures=signatures).model_dump()


FIRST = document(1, None)
PINNED = hashlib.sha256(FIRST).hexdigest()
SECOND = document(2, PINNED)


def test_a_chain_signed_by_its_quorum_says_whose_keys_are_whose() -> None:
    trust = plain.Trust(PINNED)
    assert trust.keys("distributor") == []
    trust.extend(signed(FIRST), NOW)
    trust.extend(signed(SECOND, **OFFICERS), NOW)
    assert trust.keys("distributor") == [KEY.public_raw]
    assert trust.keys("generator") == []


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(signed(SECOND, olga=OFFICERS["olga"]), id="one officer of two"),
        pytest.param(signed(SECOND), id="nobody's signature"),
        pytest.param(signed(SECOND, olga=OFFICERS["olga"], oliver=STRANGER), id="another's key"),
        pytest.param(signed(SECOND, olga=OFFICERS["olga"], alice=STRANGER), id="a person who is no officer"),
        pytest.param(signed(SECOND, olga=OFFICERS["olga"], nobody=STRANGER), id="a stranger"),
        pytest.param(signed(document(3, PINNED), **OFFICERS), id="a number that is not the next"),
        pytest.param(signed(document(2, "0" * 64), **OFFICERS), id="another one before it"),
    ],
)
def test_a_document_that_does_not_follow_is_refused_and_changes_nothing(second: dict[str, Any]) -> None:
    trust = plain.Trust(PINNED)
    trust.extend(signed(FIRST), NOW)
    with pytest.raises(plain.NotGenuineError):
        trust.extend(second, NOW)
    assert trust.keys("distributor") == [KEY.public_raw]
    trust.extend(signed(SECOND, **OFFICERS), NOW)


def test_one_officer_twice_is_one() -> None:
    trust = plain.Trust(PINNED)
    trust.extend(signed(FIRST), NOW)
    twice = signed(SECOND, olga=OFFICERS["olga"])
    twice["signatures"] *= 2
    with pytest.raises(plain.NotGenuineError, match="quorum"):
        trust.extend(twice, NOW)


def test_a_first_document_that_is_not_the_pinned_one_is_refused() -> None:
    with pytest.raises(plain.NotGenuineError, match="pinned"):
        plain.Trust("0" * 64).extend(signed(FIRST), NOW)
