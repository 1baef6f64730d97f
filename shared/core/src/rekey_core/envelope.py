"""Bus message ⇄ model: CloudEvents 1.0 in binary mode, signed as a whole, verified before it is parsed.

The body is the JSON of a frozen model; its author signed exactly these bytes (Ed25519 over the DSSE pre-authentication
encoding, with the event type as payload type). Headers repeat what the body says for tools that only read headers; a
reader believes none of them but the type and the signature, and the type is under the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from rekey_core.authority import STREAMS, Stream
from rekey_core.contracts import MAX_MESSAGE_BYTES, Message, Signed, SignedCommand
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.errors import (
    MalformedError,
    OversizedError,
    ReplayedError,
    SchemaError,
    SignatureError,
    StaleReadError,
    UnknownTypeError,
    WrongAuthorError,
)
from rekey_core.signing import SigningKey, key_id, verify
from rekey_core.tracecontext import TraceContext, parse_traceparent
from rekey_core.validation import what_is_wrong

KEY_ID_HEADER: Final = "ce-dssekeyid"
SIGNATURE_HEADER: Final = "ce-dssesignature"
TYPE_HEADER: Final = "ce-type"
CONTENT_TYPE: Final = "application/json"
_SEQUENCE: Final = (
    "Nats-Sequence"  # the server's, in every stored message that it answers, whatever stood there before
)

M = TypeVar("M", bound=Message)
S = TypeVar("S", Signed, SignedCommand)
M_co = TypeVar("M_co", bound=Message, covariant=True)


@dataclass(frozen=True)
class BusMessage:
    """A message as a stream gave it. ``sequence`` 0 and stream "" for a core message.

    ``deliveries``: how often its consumer was given it; from the second time on an earlier try may have left something.
    """

    stream: str
    subject: str
    headers: Mapping[str, str]
    data: bytes
    sequence: int
    stored_at: datetime
    deliveries: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Stored(Generic[M_co]):
    """A verified message, where it stands, since when, and its signature for passing on.

    ``trace`` is what its header says, outside of the signature.
    """

    model: M_co
    sequence: int
    stored_at: datetime
    subject: str
    signed: Signed
    trace: TraceContext | None = None


@dataclass(frozen=True)
class Void:
    """A message without effect: where it stands and what is wrong. ``validly_signed``: by the author of its subject."""

    sequence: int
    subject: str
    error: MalformedError
    validly_signed: bool = False


@dataclass(frozen=True)
class Packed:
    """What goes to the bus, and the same as an embeddable signature."""

    headers: dict[str, str]
    data: bytes
    signed: Signed


def answer_status(headers: Mapping[str, str]) -> str | None:
    """What the server says instead of a message, or at the end of many; none: this is a stored message.

    That is for the server to say: the author of a stored message may have written any status into it.
    """
    return None if _SEQUENCE in headers else headers.get("Status")


def direct_message(headers: Mapping[str, str], data: bytes, stream: Stream) -> BusMessage:
    """A message as DIRECT.GET of a stream answers it: its own headers, and where it stands in headers of the server.

    The server writes its headers behind the author's. Where those do not end as headers do, the last of them swallows its
    first one, the stream: whoever asked knows that.

    Raises:
        StaleReadError: a header that says where it stands is missing, or is none.
    """
    try:
        return BusMessage(
            stream.value,
            headers["Nats-Subject"],
            own_headers(headers),
            data,
            int(headers[_SEQUENCE]),
            timestamp(headers["Nats-Time-Stamp"]),
        )
    except (KeyError, ValueError) as error:
        raise StaleReadError("a stored message came without its place in the stream") from error


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that the author wrote, without the server's and the publish conditions."""
    return {name: value for name, value in headers.items() if not name.startswith("Nats-")}


def timestamp(text: str) -> datetime:
    """RFC 3339 with up to nine digits of a second, cut (never rounded) to microseconds; always UTC."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    micro = int((fraction + "000000")[:6])
    return datetime.fromisoformat(head).replace(tzinfo=UTC, microsecond=micro)


def sign(model: Message, key: SigningKey) -> Signed:
    """Sign a model as JSON bytes, to be embedded or sent as a core message."""
    payload = model.model_dump_json().encode()
    return Signed(
        type=model.type,
        payload=b64u_encode(payload),
        key_id=key.key_id,
        signature=b64u_encode(key.sign(model.type, payload)),
    )


def pack(model: Message, key: SigningKey, *, source: str) -> Packed:
    """Sign a model for a stream. ``source``: CloudEvents source, e.g. ``/rekey/dev/generator``."""
    payload = model.model_dump_json().encode()
    signature = b64u_encode(key.sign(model.type, payload))
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(getattr(model, "id", None) or hashlib.sha256(payload).hexdigest()[:32]),
        "ce-source": source,
        TYPE_HEADER: model.type,
        "content-type": CONTENT_TYPE,
        KEY_ID_HEADER: key.key_id,
        SIGNATURE_HEADER: signature,
    }
    signed = Signed(type=model.type, payload=b64u_encode(payload), key_id=key.key_id, signature=signature)
    return Packed(headers, payload, signed)


def signed_again(headers: Mapping[str, str], data: bytes, key: SigningKey) -> dict[str, str]:
    """The headers of a packed message, under the signature of another key."""
    signature = b64u_encode(key.sign(headers[TYPE_HEADER], data))
    return {**headers, KEY_ID_HEADER: key.key_id, SIGNATURE_HEADER: signature}


def signed_of(message: BusMessage) -> Signed:
    """The signature of a stream message in its embeddable form.

    Raises:
        SignatureError: a header is missing.
        OversizedError: the body is larger than any message may be.
    """
    limit = _max_bytes(message.stream)
    if len(message.data) > limit:
        text = f"{message.subject}: body has {len(message.data)} bytes, expected at most {limit}"
        raise OversizedError(text)
    missing = [
        name for name in (TYPE_HEADER, KEY_ID_HEADER, SIGNATURE_HEADER) if not message.headers.get(name)
    ]
    if missing:
        text = f"{message.subject}: expected a signed message, found no header {', '.join(missing)}"
        raise SignatureError(text)
    try:
        return Signed(
            type=message.headers[TYPE_HEADER],
            payload=b64u_encode(message.data),
            key_id=message.headers[KEY_ID_HEADER],
            signature=message.headers[SIGNATURE_HEADER],
        )
    except ValidationError:
        text = f"{message.subject}: signature headers are not base64url"
        raise SignatureError(text) from None


def _max_bytes(stream: str) -> int:
    """What the stream promises; the server's own limit counts headers too and is a little wider."""
    return next((s.max_message_bytes for s in STREAMS if s.name == stream), MAX_MESSAGE_BYTES)


def verify_signed(signed: Signed, keys: Sequence[bytes], *, where: str) -> bytes:
    """The payload, if one of the author's keys signed it as this type.

    Raises:
        WrongAuthorError: the key is none of the author's.
        SignatureError: the signature is not over these bytes.
    """
    payload = b64u_decode(signed.payload)
    _verify(signed, payload, keys, where=where)
    return payload


def _verify(signed: Signed, payload: bytes, keys: Sequence[bytes], *, where: str) -> None:
    author = next((raw for raw in keys if key_id(raw) == signed.key_id), None)
    if author is None:
        text = f"{where}: signed with key {signed.key_id[:16]}, which is not the author's"
        raise WrongAuthorError(text)
    verify(author, signed.type, payload, b64u_decode(signed.signature))


def parse(payload: bytes, message_type: str, models: Iterable[type[M]], *, where: str) -> M:
    """The model that the type names.

    Raises:
        UnknownTypeError: none of the models has this type.
        SchemaError: the payload is not that model; names field and rule, never a value.
    """
    model = next((m for m in models if message_type == m.TYPE), None)
    if model is None:
        text = f"{where}: type {message_type[:80]!r} is not known"
        raise UnknownTypeError(text)
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        text = f"{where}: {what_is_wrong(error)}"
        raise SchemaError(text) from None


def read_signed(data: bytes, kind: type[S], *, where: str) -> S:
    """What came as JSON with its signature inside; nothing is verified yet. Raises SchemaError."""
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        text = f"{where}: expected a signed message in JSON, found something else"
        raise SchemaError(text) from None


def open_signed(signed: Signed, models: Iterable[type[M]], keys: Sequence[bytes], *, where: str) -> M:
    """Verify, then parse, an embedded or core message. Raises what ``verify_signed`` and ``parse`` raise."""
    return parse(verify_signed(signed, keys, where=where), signed.type, models, where=where)


def unpack(message: BusMessage, models: Iterable[type[M]], keys: Sequence[bytes]) -> Stored[M]:
    """Verify, then parse, a stream message. Raises what ``signed_of``, ``verify_signed`` and ``parse`` raise."""
    signed = signed_of(message)
    _verify(signed, message.data, keys, where=message.subject)
    model = parse(message.data, signed.type, models, where=message.subject)
    trace = parse_traceparent(message.headers)
    return Stored(model, message.sequence, message.stored_at, message.subject, signed, trace)


def unpack_or_void(message: BusMessage, open_message: Callable[[BusMessage], Stored[M]]) -> Stored[M] | Void:
    """The message, or what is wrong with it as a value: the fold counts both."""
    try:
        return open_message(message)
    except UnknownTypeError as error:
        return Void(
            message.sequence, message.subject, error, validly_signed=True
        )  # parse() comes after verify
    except MalformedError as error:
        return Void(message.sequence, message.subject, error)


def expect(actual: str, expected: str, *, what: str) -> None:
    """Refuse content that stands elsewhere than it says.

    Raises:
        ReplayedError: the signed content was made for another place.
    """
    if actual != expected:
        text = f"{what}: signed content belongs to {expected}, found at {actual}"
        raise ReplayedError(text)
