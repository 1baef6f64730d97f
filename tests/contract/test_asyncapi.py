"""deploy/asyncapi.json is the authority table and the models, is valid AsyncAPI 3.0, and says what a dependent may do.

The AsyncAPI schema is AsyncAPI's own, unchanged (tests/vectors/asyncapi). ``python -m rekey_provision.asyncapi`` renders it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft7Validator

from deploy.environments import ROOT
from rekey_core.authority import APPENDS, Appends, Identity, Subjects
from rekey_core.carries import CARRIES
from rekey_core.contracts import OPS
from rekey_core.errors import ConfigurationError
from rekey_provision import asyncapi

FILE: Final = ROOT / "deploy" / "asyncapi.json"
SCHEMA: Final = ROOT / "tests" / "vectors" / "asyncapi" / "3.0.0-without-id.json"
GOLDEN: Final = Path(__file__).parent / "schemas"
AGAIN: Final = (
    "if the change is meant: .rekey/env/dev/bin/python -m rekey_provision.asyncapi > deploy/asyncapi.json"
)
COMMITTED: Final[dict[str, Any]] = json.loads(FILE.read_text())
VALIDATOR: Final = Draft7Validator(json.loads(SCHEMA.read_text()))

DEPENDENT_SENDS = {"rcpt", *(f"req.{op}" for op in OPS)}
DEPENDENT_RECEIVES = {"ntc", "stop", "poke.ntc", "poke.stop", "trust"}


def test_the_committed_document_is_the_rendered_one_byte_for_byte() -> None:
    assert FILE.read_text() == asyncapi.render(), AGAIN


def test_the_document_is_valid_asyncapi_3() -> None:
    assert [error.message for error in VALIDATOR.iter_errors(COMMITTED)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("info",), {}, id="no title and no version"),
        pytest.param(("operations", "audit.receive.ntc", "action"), "publish", id="AsyncAPI 2's words"),
        pytest.param(("channels", "ntc", "subject"), "ntc", id="a field that is none"),
        pytest.param(("components", "schemas", "Notice", "type"), "row", id="a type that JSON does not have"),
        pytest.param(
            ("components", "securitySchemes", "certificate"), {"type": "mTLS"}, id="no such security"
        ),
    ],
)
def test_what_is_not_asyncapi_3_is_noticed(path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(COMMITTED)
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    assert [ref for ref in _references(COMMITTED) if _followed(ref) is None] == []


def test_every_right_to_append_is_one_operation_and_there_is_no_other() -> None:
    sends = {name for name, op in COMMITTED["operations"].items() if op["action"] == "send"}
    assert len(sends) == len(APPENDS)
    addresses = {COMMITTED["channels"][name.split(".send.")[1]]["address"] for name in sends}
    assert {_shape(address) for address in addresses} == {_shape(right.subject) for right in APPENDS}
    for right in APPENDS:
        assert any(name.startswith(f"{right.author}.send.") for name in sends), right


def test_a_dependent_is_told_exactly_what_it_may_do() -> None:
    mine = [name for name in COMMITTED["operations"] if name.startswith("application.")]
    assert {name.split(".send.")[1] for name in mine if ".send." in name} == DEPENDENT_SENDS
    assert {name.split(".receive.")[1] for name in mine if ".receive." in name} == DEPENDENT_RECEIVES


def test_nobody_but_the_two_with_an_hsm_reads_material() -> None:
    readers = {name.split(".")[0] for name in COMMITTED["operations"] if name.endswith(".receive.mat")}
    assert readers == {"generator", "distributor"}


def test_every_message_is_what_its_golden_schema_says() -> None:
    messages = COMMITTED["components"]["messages"]
    for name in set(messages) - {"poke"}:
        reference = messages[name].get("x-signed-payload", messages[name]["payload"])["$ref"]
        golden = json.loads((GOLDEN / f"{name}.json").read_text())
        inside = golden.pop("$defs", {})
        assert _followed(reference) == _moved(golden), name
        for part, schema in inside.items():
            assert _followed(f"#/components/schemas/{part}") == _moved(schema), (name, part)


def test_what_stands_on_a_stream_has_its_type_and_signature_in_headers() -> None:
    for name in ("rekey.notice.v1", "rekey.stop.v1", "rekey.key.activated.v1"):
        headers = COMMITTED["components"]["messages"][name]["headers"]
        assert headers["properties"]["ce-type"] == {"const": name}
        required = _followed(headers["allOf"][0]["$ref"])["required"]
        assert {"ce-type", "ce-dssekeyid", "ce-dssesignature"} <= set(required)


@pytest.mark.parametrize("carries", CARRIES, ids=lambda carries: carries.address)
def test_an_address_is_what_subjects_makes(carries: Any) -> None:
    make = Subjects("dev")
    made = {
        "evt": make.fact("k", 1, "generator", "generated", "0" * 32),
        "dlv": make.delivered("k", 1, "0" * 32),
        "cmd": make.command("rotate", "k", "0" * 64),
        "mat": make.material("k", 1),
        "bak": make.backup("k", 1),
        "rst": make.offer("k", 1),
        "att": make.attestation("0" * 64),
        "lse": make.lease("d", "i"),
        "qta": make.quota("k", 1),
        "ntc": make.notice("d", "k"),
        "stop": make.stop("d", "k"),
        "rcpt": make.receipt("d", "i"),
        "rpt": make.report("audit", "alert", "n"),
        "trust": make.trust(1),
        "req": make.request("d", "i", "lease"),
        "ask": make.ask("p", "show"),
    }
    places = {"env": "dev", "key": "k", "version": 1, "dependent": "d", "instance": "i", "person": "p"}
    words = {"service": "generator", "event": "generated", "n": "0" * 16, "op": "lease"}
    kind = carries.address.partition(".")[0]
    if kind == "rpt":
        words |= {"service": "audit", "kind": "alert", "n": "n"}
    words |= {"verb": "show" if kind == "ask" else "rotate"} | ({"n": "1"} if kind == "trust" else {})
    assert carries.address.format(**places, **words) == made[kind]


def test_a_right_whose_subject_carries_nothing_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = Appends(Identity.AUDIT, "new.{env}.*", None)
    monkeypatch.setattr(asyncapi, "APPENDS", (*APPENDS, strange))
    with pytest.raises(ConfigurationError, match=r"new\.\{env\}\.\*: expected one kind of subject"):
        asyncapi.document()


def _shape(subject: str) -> str:
    return ".".join("*" if token == "*" or "{" in token else token for token in subject.split("."))


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            yield from _references(value)
    if isinstance(node, list):
        for item in node:
            yield from _references(item)


def _followed(reference: str) -> Any:
    node: Any = COMMITTED
    for step in reference.removeprefix("#/").split("/"):
        if step not in node:
            return None
        node = node[step]
    return node


def _moved(schema: Any) -> Any:
    """A golden schema with its definitions where the document has them, in AsyncAPI's form."""
    text = json.dumps(schema).replace("#/$defs/", "#/components/schemas/")
    return json.loads(text, object_hook=_with_a_plain_discriminator)


def _with_a_plain_discriminator(node: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found := node.get("discriminator"), dict):
        return node | {"discriminator": found["propertyName"]}
    return node
