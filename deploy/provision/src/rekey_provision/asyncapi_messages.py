"""Messages of the published contract: names, headers and payloads, from the models' own JSON Schemas."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Final

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from rekey_core.authority import Stream
from rekey_core.carries import Wire
from rekey_core.contracts import Model, Signed, SignedCommand, SignedTrust
from rekey_core.envelope import CONTENT_TYPE, KEY_ID_HEADER, SIGNATURE_HEADER, TYPE_HEADER

Json = dict[str, object]

POKE: Final = "poke"
_MODE: Final[JsonSchemaMode] = "validation"
_AROUND: Final[dict[Wire, type[Model]]] = {
    Wire.SIGNED: Signed,
    Wire.COMMAND: SignedCommand,
    Wire.TRUST: SignedTrust,
}


def type_of(model: type[Model]) -> str:
    """The message's name on the wire; a question has none there and is called as its golden schema is."""
    field = model.model_fields.get("type")
    return str(field.default) if field else f"rekey.{model.__name__.lower()}.v1"


def message(model: type[Model], wire: Wire) -> Json:
    """One message as it stands on the wire: headers and payload, or the signed JSON around it."""
    payload = {"$ref": f"#/components/schemas/{model.__name__}"}
    described: Json = {"name": type_of(model), "title": model.__name__, "summary": _summary(model)}
    if wire is Wire.EVENT:
        headers = {
            "allOf": [{"$ref": "#/components/schemas/event-headers"}],
            "properties": {TYPE_HEADER: {"const": type_of(model)}},
        }
        return described | {"headers": headers, "payload": payload}
    if wire is Wire.PLAIN:
        return described | {"payload": payload}
    around = {"$ref": f"#/components/schemas/{_AROUND[wire].__name__}"}
    return described | {"payload": around, "x-signed-payload": payload}


def _summary(model: type[Model]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]


def poke() -> Json:
    """What a stream republishes: headers alone."""
    return {
        "name": POKE,
        "title": "Poke",
        "summary": "Something changed on the subject behind poke.: read it. Decides nothing by itself.",
        "headers": {
            "type": "object",
            "required": ["Nats-Stream", "Nats-Subject", "Nats-Sequence"],
            "properties": {
                "Nats-Stream": {"const": Stream.NOTICES.value},
                "Nats-Subject": {"type": "string"},
                "Nats-Sequence": {"type": "string", "pattern": "^[0-9]+$"},
            },
        },
        "payload": {"type": "string", "maxLength": 0},
    }


def schemas(models: Iterable[type[Model]]) -> Json:
    """The schemas of these and of everything inside them, each under its name; references lead to ``components``."""
    wanted = {(model, _MODE) for model in (*models, *_AROUND.values())}
    in_order = sorted(wanted, key=lambda one: one[0].__name__)
    _, made = models_json_schema(in_order, ref_template="#/components/schemas/{model}")
    found = {"event-headers": _event_headers()} | made["$defs"]
    return {name: _draft_7(schema) for name, schema in sorted(found.items())}


def _event_headers() -> Json:
    text = {"type": "string"}
    properties = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": text,
        "ce-source": {"type": "string", "description": "/rekey/<environment>/<author>"},
        TYPE_HEADER: {"type": "string", "description": "Type and major version; it is under the signature."},
        "content-type": {"const": CONTENT_TYPE},
        KEY_ID_HEADER: {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        SIGNATURE_HEADER: {"type": "string", "pattern": "^[A-Za-z0-9_-]{86}$"},
        "traceparent": {"type": "string", "description": "W3C trace context; decides nothing."},
    }
    return {
        "type": "object",
        "description": "CloudEvents 1.0, binary mode. Believe none of them but type and signature.",
        "required": [name for name in properties if name != "traceparent"],
        "properties": properties,
    }


def _draft_7(schema: object) -> object:
    """AsyncAPI's own form of a schema: a discriminator is a property's name, not OpenAPI's object."""
    if isinstance(schema, dict):
        return {
            name: value["propertyName"]
            if name == "discriminator" and "propertyName" in value
            else _draft_7(value)
            for name, value in schema.items()
        }
    return [_draft_7(item) for item in schema] if isinstance(schema, list) else schema
