"""Requests of an instance, each spoilt in one way: what ``open_request`` must not take, nor a running distributor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from rekey_core.authority import Subjects
from rekey_core.contracts import MAX_MESSAGE_BYTES, MaterialRequest
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.errors import (
    AuthorityError,
    ForeignEnvironmentError,
    OversizedError,
    RekeyError,
    ReplayedError,
    SchemaError,
    SignatureError,
    UnknownTypeError,
    WrongAuthorError,
)
from rekey_core.readers import endorse
from rekey_core.signing import SigningKey
from tests.fakes.scene import Asker

PROBE: Final = "rekey.request.probe.v1"

Sent = tuple[str, bytes]


class Others(Protocol):
    """Who else is there."""

    @property
    def dependents(self) -> Mapping[str, SigningKey]:
        """Their signing keys."""

    def asker(self) -> Asker:
        """A fresh instance of orders."""


Spoil = Callable[[Others, Asker], Sent]


class Row(NamedTuple):
    """What is wrong, how to make it so, and what it is refused as."""

    name: str
    spoil: Spoil
    error: type[RekeyError]


def good(_: Others, asker: Asker) -> Sent:
    return asker.bytes_of(asker.material(1))


def with_field(name: str, change: Callable[[str], str]) -> Spoil:
    """One field of what travels is another one."""

    def spoil(others: Others, asker: Asker) -> Sent:
        subject, data = good(others, asker)
        body = json.loads(data)
        return subject, json.dumps(body | {name: change(body[name])}).encode()

    return spoil


def altered(payload: str) -> str:
    return b64u_encode(b64u_decode(payload).replace(b'"versions":[1]', b'"versions":[2]'))


def without_signature(others: Others, asker: Asker) -> Sent:
    subject, data = good(others, asker)
    body = json.loads(data)
    del body["signature"]
    return subject, json.dumps(body).encode()


def signed_by_another(_: Others, asker: Asker) -> Sent:
    return asker.bytes_of(asker.material(1), by=SigningKey.generate())


def another_key_under_our_id(_: Others, asker: Asker) -> Sent:
    other = SigningKey.generate()
    subject, data = asker.bytes_of(asker.material(1), by=other)
    body = json.loads(data)
    assert body["key_id"] == other.key_id
    return subject, json.dumps(body | {"key_id": asker.key.key_id}).encode()


def another_instances_endorsement(others: Others, asker: Asker) -> Sent:
    return asker.bytes_of(asker.material(1, endorsement=others.asker().material(1).endorsement))


def endorsed_by_another_dependent(others: Others, asker: Asker) -> Sent:
    other = others.dependents["billing"]
    return asker.bytes_of(
        asker.material(1, endorsement=endorse("orders", asker.env, asker.key.public_raw, other))
    )


def of_a_dependent_that_is_not_enrolled(others: Others, asker: Asker) -> Sent:
    stranger = Asker(SigningKey.generate(), "nobody", asker.key, env=asker.env)
    return good(others, asker)[0], stranger.bytes_of(stranger.material(1))[1]


def of_another_environment(_: Others, asker: Asker) -> Sent:
    return asker.bytes_of(asker.material(1, env="prod"))


def on_another_instances_subject(others: Others, asker: Asker) -> Sent:
    _, data = good(others, asker)
    return Subjects(asker.env).request("orders", others.asker().instance, MaterialRequest.OP), data


def on_another_operations_subject(others: Others, asker: Asker) -> Sent:
    _, data = good(others, asker)
    return Subjects(asker.env).request("orders", asker.instance, "probe"), data


def oversized(others: Others, asker: Asker) -> Sent:
    subject, data = good(others, asker)
    return subject, data + b" " * (2 * MAX_MESSAGE_BYTES)


def garbage(others: Others, asker: Asker) -> Sent:
    return good(others, asker)[0], b"\xff{"


def rightly_signed_as(kind: str) -> Spoil:
    """The request under another type, signed as that."""

    def spoil(others: Others, asker: Asker) -> Sent:
        subject, data = good(others, asker)
        body = json.loads(data)
        signature = asker.key.sign(kind, b64u_decode(body["payload"]))
        return subject, json.dumps(body | {"type": kind, "signature": b64u_encode(signature)}).encode()

    return spoil


SPOILT: Final = (
    Row("bytes that are no message", garbage, SchemaError),
    Row("truncated", with_field("payload", lambda p: p[: len(p) // 8 * 4]), SchemaError),
    Row("oversized", oversized, OversizedError),
    Row("without a signature", without_signature, SchemaError),
    Row("with an empty signature", with_field("signature", lambda _: ""), SignatureError),
    Row("changed after it was signed", with_field("payload", altered), SignatureError),
    Row("signed with another key", signed_by_another, WrongAuthorError),
    Row("signed with another key under the right id", another_key_under_our_id, SignatureError),
    Row("with another instance's endorsement", another_instances_endorsement, WrongAuthorError),
    Row("endorsed by another dependent", endorsed_by_another_dependent, SignatureError),
    Row("of a dependent not enrolled", of_a_dependent_that_is_not_enrolled, AuthorityError),
    Row("of another environment", of_another_environment, ForeignEnvironmentError),
    Row("on another instance's subject", on_another_instances_subject, ReplayedError),
    Row("on another operation's subject", on_another_operations_subject, ReplayedError),
    Row("under a type that was not signed", with_field("type", lambda _: PROBE), SignatureError),
    Row("rightly signed as another type", rightly_signed_as(PROBE), SchemaError),
    Row(
        "of an unknown major version, rightly signed",
        rightly_signed_as("rekey.request.material.v9"),
        UnknownTypeError,
    ),
)
