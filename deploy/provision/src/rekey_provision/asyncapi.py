"""The published contract: AsyncAPI 3.0, rendered from the authority table and the message models.

``python -m rekey_provision.asyncapi > deploy/asyncapi.json``. Nothing about the bus is written here a second time: channels
are the rights to append and to hear, operations are who may do what, payloads are the models' own JSON Schemas.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

from rekey_core.authority import (
    APPENDS,
    CONSUMERS,
    HEARS,
    READS,
    SERVES,
    STREAMS,
    Appends,
    Form,
    Hears,
    Identity,
    Reads,
    Stream,
)
from rekey_core.carries import CARRIES, Carries, Wire
from rekey_core.contracts import Model
from rekey_core.envelope import CONTENT_TYPE
from rekey_core.errors import ConfigurationError
from rekey_provision.asyncapi_messages import POKE, message, poke, schemas, type_of

Json = dict[str, object]

VERSION: Final = "1.0.0"  # of the contract: its major version rises with that of any message
_PLACES: Final = {
    "env": "The environment.",
    "key": "The name of the key.",
    "version": "The version's number; 0 for the key itself.",
    "service": "The author.",
    "event": "What happened.",
    "n": "The first 16 hexadecimal digits of the message's id or digest; for trust documents 1, 2, ….",
    "verb": "What is asked for.",
    "dependent": "The name of the dependent, as in its certificate.",
    "instance": "The id of the instance: the first 32 hexadecimal digits of the SHA-256 of its public key.",
    "person": "The name of the person, as in their certificate.",
    "kind": "Refusal or alert.",
    "op": "What is asked for.",
}


@dataclass(frozen=True)
class _Channel:
    """One subject of the table: what is said there, by whom, and where it is kept."""

    subject: str
    carries: Carries
    stream: Stream | None
    author: Identity

    @property
    def name(self) -> str:
        """The subject's fixed words."""
        return ".".join(token for token in self.subject.split(".") if token.isidentifier() or "-" in token)

    @property
    def is_poke(self) -> bool:
        """Whether it repeats the headers of another channel."""
        return self.subject.startswith(f"{POKE}.")

    @property
    def address(self) -> str:
        """The subject with a name in each of its places."""
        kind = f"{POKE}.{self.carries.address}" if self.is_poke else self.carries.address
        pairs = zip(self.subject.split("."), kind.split("."), strict=True)
        return ".".join(place if found == "*" or "{" in found else found for found, place in pairs)

    @property
    def messages(self) -> tuple[type[Model], ...]:
        """Those whose event, verb or operation the subject names; all of its kind where it names none."""
        words = set(self.subject.split("."))
        named = tuple(m for m in self.carries.messages if words & _words(m))
        return named or self.carries.messages


def document() -> Json:
    """The whole contract. Raises ConfigurationError for a right whose kind of subject carries nothing."""
    rights: tuple[Appends | Hears, ...] = (*APPENDS, *HEARS)
    channels = [_channel(right) for right in rights]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rekey",
            "version": VERSION,
            "description": (resources.files(__package__) / "contract.md").read_text(encoding="utf-8"),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"bus": _server()},
        "channels": {c.name: _described(c) for c in channels} | _answer_channels(channels),
        "operations": {name: op for c in channels for name, op in _operations(c)},
        "components": {
            "securitySchemes": {"certificate": _certificate()},
            "messages": _messages(channels),
            "schemas": schemas(m for c in channels for m in (*c.messages, *c.carries.answers)),
        },
    }


def render() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _words(model: type[Model]) -> set[str]:
    return {str(getattr(model, word)) for word in ("EVENT", "VERB", "OP") if hasattr(model, word)}


def _channel(right: Appends | Hears) -> _Channel:
    subject = right.subject.removeprefix(f"{POKE}.")
    kinds = [c for c in CARRIES if c.address.partition(".")[0] == subject.partition(".")[0]]
    if len(kinds) != 1:
        raise ConfigurationError(
            f"{right.subject}: expected one kind of subject that says what it carries, found {len(kinds)}",
            hint="add it to CARRIES in rekey_core.carries",
        )
    if isinstance(right, Appends):
        return _Channel(subject, kinds[0], right.stream, right.author)
    source = next(a for a in APPENDS if a.subject.partition(".")[0] == subject.partition(".")[0])
    return _Channel(right.subject, kinds[0], None, source.author)


def _server() -> Json:
    return {
        "host": "{host}:4222",
        "protocol": "nats",
        "description": "TLS 1.3 with a client certificate; the server's own is issued by the environment's CA.",
        "variables": {"host": {"default": "localhost"}},
        "security": [{"$ref": "#/components/securitySchemes/certificate"}],
    }


def _certificate() -> Json:
    text = "A client certificate of the environment's CA; its SPIFFE URI spiffe://rekey.<env>/<role>/<name> is the user."
    return {"type": "X509", "description": text}


def _described(channel: _Channel) -> Json:
    places = [token[1:-1] for token in channel.address.split(".") if token.startswith("{")]
    described: Json = {
        "address": channel.address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(channel)},
        "parameters": {place: {"description": _PLACES[place]} for place in places},
        "description": _where(channel),
    }
    if channel.stream:
        described["x-stream"] = channel.stream.value
    return described


def _where(channel: _Channel) -> str:
    if channel.is_poke:
        return f"The headers of each change of {channel.address.removeprefix('poke.')}, without its body."
    if channel.stream is None:
        return f"Core requests by {channel.author}; not kept."
    config = next(s for s in STREAMS if s.name is channel.stream)
    kept = "written once" if config.write_once else "the newest message of each subject"
    return f"Written by {channel.author} alone; kept in {channel.stream}, {kept}."


def _message_names(channel: _Channel) -> list[str]:
    return [POKE] if channel.is_poke else [type_of(model) for model in channel.messages]


def _answer_channels(channels: Iterable[_Channel]) -> Json:
    """Where the answers to core requests come: the inbox that the request names, so without an address of their own."""
    kinds = {c.carries.address.partition(".")[0]: c.carries for c in channels if c.carries.answers}
    return {
        f"{kind}.answers": {
            "address": None,
            "messages": {
                type_of(m): {"$ref": f"#/components/messages/{type_of(m)}"} for m in carries.answers
            },
            "description": "The reply subject of the request, in the inbox of who asked.",
        }
        for kind, carries in kinds.items()
    }


def _operations(channel: _Channel) -> Iterator[tuple[str, Json]]:
    if not channel.is_poke:
        how = f"Append to {channel.stream}" if channel.stream else "Ask"
        yield _operation(channel, channel.author, "send", how)
    for reader in Identity:
        ways = list(_ways(channel, reader))
        if ways:
            yield _operation(channel, reader, "receive", "; ".join(ways))


def _operation(channel: _Channel, role: Identity, action: str, how: str) -> tuple[str, Json]:
    place = f"#/channels/{channel.name}"
    operation: Json = {
        "action": action,
        "channel": {"$ref": place},
        "description": how,
        "messages": [{"$ref": f"{place}/messages/{name}"} for name in _message_names(channel)],
    }
    if channel.carries.answers:
        answers = f"#/channels/{channel.carries.address.partition('.')[0]}.answers"
        operation["reply"] = {"channel": {"$ref": answers}}
    return f"{role}.{action}.{channel.name}", operation


def _ways(channel: _Channel, reader: Identity) -> Iterator[str]:
    """Every way by which the reader may have what is said on the channel."""
    for heard in HEARS:
        if heard.listener is reader and heard.subject == channel.subject:
            yield f"Subscribe to `{channel.address}`"
    for served in SERVES:
        if served.server is reader and served.client is channel.author and _covers(served.subject, channel):
            yield f"Answer `{served.subject}`, queue group {served.server}"
    for consumer in CONSUMERS:
        mine = consumer.identity is reader and consumer.stream is channel.stream
        if mine and any(_covers(subject, channel) for subject in consumer.filters):
            yield f"Durable consumer {consumer.name} of {consumer.stream}"
    yield from (_read(read, channel) for read in READS if read.reader is reader and _reaches(read, channel))


def _reaches(read: Reads, channel: _Channel) -> bool:
    if read.stream is not channel.stream:
        return False
    return read.subject is None or _covers(read.subject.replace("{self}", "*"), channel)


def _read(read: Reads, channel: _Channel) -> str:
    match read.form:
        case Form.SUBJECT:
            return f"Request `JSC.API.DIRECT.GET.{read.stream}.{channel.address}`"
        case Form.BODY:
            return f"Request `JSC.API.DIRECT.GET.{read.stream}` with the question in the body"
        case Form.LEADER:
            return f"Request `JSC.API.STREAM.MSG.GET.{read.stream}`"


def _covers(wide: str, channel: _Channel) -> bool:
    """Whether every subject of the channel is one that the filter lets through (NATS wildcards)."""
    ours, theirs = wide.split("."), channel.subject.split(".")
    if ours[-1] == ">":
        ours, theirs = ours[:-1], theirs[: len(ours) - 1]
    return len(ours) == len(theirs) and all(o in ("*", t) for o, t in zip(ours, theirs, strict=True))


def _messages(channels: Iterable[_Channel]) -> Json:
    found: Json = {}
    for channel in channels:
        if channel.is_poke:
            found[POKE] = poke()
            continue
        found |= {type_of(m): message(m, channel.carries.wire) for m in channel.messages}
        found |= {type_of(m): message(m, Wire.SIGNED) for m in channel.carries.answers}
    return dict(sorted(found.items()))


if __name__ == "__main__":
    sys.stdout.write(render())
