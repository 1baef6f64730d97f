"""One opener per message kind: author from the subject, keys from trust, content held against the place it stands at.

``Malformed`` leaves are raised for everything that is not exactly a message of ours; the caller's verdict follows
from the leaf (errors.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import ValidationError

from rekey_core.authority import Subjects
from rekey_core.commands import command_id, verify_command
from rekey_core.contracts import (
    FACTS,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_AGE_S,
    OLDEST_PROTOCOL,
    OPS,
    PROTOCOL,
    REQUESTS,
    Alert,
    Answer,
    AnyCommand,
    BackupRecord,
    Delivered,
    Endorsement,
    Fact,
    Lease,
    MaterialRecord,
    Message,
    Notice,
    QuotaLedger,
    Receipt,
    Refusal,
    RefusalAnswer,
    Request,
    RequestHead,
    Signed,
    SignedCommand,
    Stop,
    Tombstone,
)
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json
from rekey_core.envelope import (
    BusMessage,
    Stored,
    expect,
    open_signed,
    parse,
    read_signed,
    signed_of,
    unpack,
    verify_signed,
)
from rekey_core.errors import (
    ExpiredError,
    ForeignEnvironmentError,
    OversizedError,
    ProtocolTooNewError,
    ProtocolTooOldError,
    ReplayedError,
    SchemaError,
    WrongAuthorError,
)
from rekey_core.names import Service, is_token
from rekey_core.signing import SigningKey, key_id, verify
from rekey_core.trust import Trust

ENDORSEMENT_TYPE: Final = "rekey.endorsement.v1"
_KEY_TOKEN: Final = 2  # evt.<env>.<key>.…
_SERVICES: Final[Mapping[str, Service]] = MappingProxyType({service.value: service for service in Service})

A = TypeVar("A", bound=Answer)
M = TypeVar("M", bound=Message)


def open_fact(message: BusMessage, trust: Trust) -> Stored[Fact]:
    """A fact, signed by the service that its subject names, standing where its content says."""
    stored = _by_service(message, FACTS, _author_in_subject(message, 4), trust)
    fact = stored.model
    if fact.author is not fact.AUTHOR:
        text = f"{message.subject}: {fact.EVENT} may only be said by {fact.AUTHOR}, found {fact.author}"
        raise WrongAuthorError(text)
    place = Subjects(trust.env).fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
    expect(message.subject, place, what=fact.EVENT)
    return stored


def open_delivered(message: BusMessage, trust: Trust) -> Stored[Delivered]:
    """A batch of deliveries."""
    stored = _by_service(message, (Delivered,), Service.DISTRIBUTOR, trust)
    batch = stored.model
    expect(
        message.subject,
        Subjects(trust.env).delivered(batch.key, batch.version, batch.id.hex),
        what="delivered",
    )
    return stored


def open_record(message: BusMessage, trust: Trust) -> Stored[MaterialRecord]:
    """The record of a wrapped version."""
    stored = _by_service(message, (MaterialRecord,), Service.GENERATOR, trust)
    expect(
        message.subject, Subjects(trust.env).material(stored.model.key, stored.model.version), what="record"
    )
    return stored


def open_material(message: BusMessage, trust: Trust) -> Stored[MaterialRecord | Tombstone]:
    """What stands in the place of a wrapped version: its record, or its tombstone."""
    kinds: tuple[type[MaterialRecord | Tombstone], ...] = (MaterialRecord, Tombstone)
    stored = _by_service(message, kinds, Service.GENERATOR, trust)
    found = stored.model
    expect(message.subject, Subjects(trust.env).material(found.key, found.version), what="material")
    return stored


def open_backup(message: BusMessage, trust: Trust) -> Stored[BackupRecord | Tombstone]:
    """What stands in the place of a version's backup: its record, or its tombstone."""
    kinds: tuple[type[BackupRecord | Tombstone], ...] = (BackupRecord, Tombstone)
    stored = _by_service(message, kinds, Service.GENERATOR, trust)
    found = stored.model
    expect(message.subject, Subjects(trust.env).backup(found.key, found.version), what="backup")
    return stored


def open_notice(message: BusMessage, trust: Trust) -> Stored[Notice]:
    """What should be, for one dependent."""
    stored = _by_service(message, (Notice,), Service.DISTRIBUTOR, trust)
    expect(
        message.subject, Subjects(trust.env).notice(stored.model.dependent, stored.model.key), what="notice"
    )
    return stored


def open_stop(message: BusMessage, trust: Trust) -> Stored[Stop]:
    """What must stop, for one dependent."""
    stored = _by_service(message, (Stop,), Service.REVOCATION, trust)
    expect(message.subject, Subjects(trust.env).stop(stored.model.dependent, stored.model.key), what="stop")
    return stored


def open_lease(message: BusMessage, trust: Trust) -> Stored[Lease]:
    """An instance's lease; the endorsement inside is checked too."""
    stored = _by_service(message, (Lease,), Service.DISTRIBUTOR, trust)
    lease = stored.model
    expect(message.subject, Subjects(trust.env).lease(lease.dependent, lease.instance), what="lease")
    instance_key(lease.endorsement, lease.dependent, lease.instance, trust.at(message.stored_at))
    return stored


def open_quota(message: BusMessage, trust: Trust) -> Stored[QuotaLedger]:
    """How much of a version's budget is given away."""
    stored = _by_service(message, (QuotaLedger,), Service.DISTRIBUTOR, trust)
    expect(message.subject, Subjects(trust.env).quota(stored.model.key, stored.model.version), what="ledger")
    return stored


def open_receipt(message: BusMessage, trust: Trust) -> Stored[Receipt]:
    """An instance's receipt from its stream."""
    signed = signed_of(message)
    receipt = open_embedded_receipt(signed, trust.at(message.stored_at), where=message.subject)
    expect(message.subject, Subjects(trust.env).receipt(receipt.dependent, receipt.instance), what="receipt")
    return Stored(receipt, message.sequence, message.stored_at, message.subject, signed)


def open_embedded_receipt(signed: Signed, trust: Trust, *, where: str) -> Receipt:
    """An instance's receipt inside a lease request."""
    claimed = parse(b64u_decode(signed.payload), signed.type, (Receipt,), where=where)
    key = instance_key(claimed.endorsement, claimed.dependent, claimed.instance, trust)
    verify_signed(signed, (key,), where=where)  # the payload that was parsed, under the endorsed key
    _same_environment(claimed, trust, where)
    return claimed


def open_report(message: BusMessage, trust: Trust) -> Stored[Refusal | Alert]:
    """A refusal or alert, by the service that its subject names."""
    kinds: tuple[type[Refusal | Alert], ...] = (Refusal, Alert)
    return _by_service(message, kinds, _author_in_subject(message, 2), trust)


def open_command_message(message: BusMessage) -> SignedCommand:
    """The signed command in a COMMANDS message; its signature is judged by ``commands.verify_command``."""
    return _signed_json(message.data, SignedCommand, where=message.subject)


def open_command(message: BusMessage, trust: Trust) -> tuple[SignedCommand, AnyCommand]:
    """The command in a COMMANDS message, judged at the time at which the log accepted it, standing where it belongs.

    Raises what ``commands.verify_command`` raises, and ReplayedError for a command at another subject than its own.
    """
    signed = open_command_message(message)
    command = verify_command(signed, trust=trust, env=trust.env, at=message.stored_at)
    place = Subjects(trust.env).command(command.VERB, command.key, command_id(signed))
    expect(message.subject, place, what=command.VERB)
    return signed, command


def key_in(subject: str) -> str:
    """The key that the subject of a fact or delivery names.

    Raises:
        SchemaError: none; the bus lets an author put anything where the key stands.
    """
    tokens = subject.split(".")
    if len(tokens) <= _KEY_TOKEN or not is_token(tokens[_KEY_TOKEN]):
        text = f"{subject}: expected the name of a key as token {_KEY_TOKEN + 1}"
        raise SchemaError(text)
    return tokens[_KEY_TOKEN]


def keys_in(messages: Iterable[BusMessage]) -> Iterator[str]:
    """The keys that the subjects of facts name; subjects that name none are left out, audit alarms about them."""
    for message in messages:
        with suppress(SchemaError):
            yield key_in(message.subject)


@dataclass(frozen=True)
class Asked:
    """A request whose sender is known; what it asks is read with ``read_request``, once its protocol is."""

    head: RequestHead
    signed: Signed
    subject: str


def open_asked(subject: str, data: bytes, trust: Trust) -> Asked:
    """A core request of an instance, of whatever protocol: endorsed, signed, and on a subject of its own.

    Neither its age nor its protocol is judged yet.
    """
    signed = _signed_json(data, Signed, where=subject)
    try:
        head = RequestHead.model_validate_json(b64u_decode(signed.payload))
    except ValidationError:
        raise SchemaError(f"{subject}: expected the head of a request, found something else") from None
    key = instance_key(head.endorsement, head.dependent, head.instance, trust)
    verify_signed(signed, (key,), where=subject)
    _same_environment(head, trust, subject)
    own = Subjects(trust.env).request(head.dependent, head.instance, OPS[0])
    expect(subject.rpartition(".")[0], own.rpartition(".")[0], what="request")
    return Asked(head, signed, subject)


def read_request(asked: Asked) -> Request:
    """What is asked.

    Raises:
        ProtocolTooOldError, ProtocolTooNewError: in a protocol that is not spoken here; names both.
        MalformedError: leaves for what is no request, or stands on another one's subject.
    """
    found = asked.head.protocol
    text = f"{asked.head.dependent} speaks protocol {found}, expected {OLDEST_PROTOCOL} or {PROTOCOL}"
    if found < OLDEST_PROTOCOL:
        raise ProtocolTooOldError(text, hint="install a newer rekey in the application, and start it again")
    if found > PROTOCOL:
        raise ProtocolTooNewError(text, hint="bring the services up to date first, then the applications")
    payload = b64u_decode(asked.signed.payload)
    request: Request = parse(payload, asked.signed.type, REQUESTS, where=asked.subject)
    place = Subjects(request.env).request(request.dependent, request.instance, request.OP)
    expect(asked.subject, place, what="request")
    return request


def open_request(subject: str, data: bytes, trust: Trust) -> Request:
    """A core request of an instance. Its age is not judged. Raises as ``open_asked`` and ``read_request``."""
    return read_request(open_asked(subject, data, trust))


def check_age(request: Request | RequestHead, now: datetime) -> None:
    """Return if a request is of this moment.

    Raises:
        ExpiredError: it is too old, or from the future.
    """
    age = (now - request.sent_at).total_seconds()
    if abs(age) > MAX_REQUEST_AGE_S:
        found = f"was sent {age:.0f} s ago, expected at most {MAX_REQUEST_AGE_S} s either way"
        text = f"request of {request.instance} {found}"
        raise ExpiredError(text, hint="check the clocks of this machine and of the bus")


def open_answer(data: bytes, trust: Trust, request: Request, models: Iterable[type[A]]) -> A | RefusalAnswer:
    """The distributor's answer to exactly this request."""
    where = f"answer to {request.OP}"
    signed = _signed_json(data, Signed, where=where)
    keys = trust.service_keys(Service.DISTRIBUTOR)
    answer: A | RefusalAnswer
    if signed.type == RefusalAnswer.TYPE:
        answer = open_signed(signed, (RefusalAnswer,), keys, where=where)
    else:
        answer = open_signed(signed, models, keys, where=where)
    expected = (request.env, request.dependent, request.instance, request.nonce)
    if (answer.env, answer.dependent, answer.instance, answer.nonce) != expected:
        text = f"{where}: expected nonce {request.nonce} for {request.instance}, found {answer.nonce}"
        raise ReplayedError(text)
    return answer


def open_embedded_fact(signed: Signed, trust: Trust, *, where: str) -> Fact:
    """A signed fact inside a notice or answer. The sender passes it on; its author signed it, perhaps with an older key."""
    author = next((fact.AUTHOR for fact in FACTS if signed.type == fact.TYPE), None)
    keys = trust.keys_ever(author) if author else ()
    fact: Fact = open_signed(signed, FACTS, keys, where=where)
    _same_environment(fact, trust, where)
    return fact


def endorse(
    dependent: str, env: str, instance_public: bytes, key: SigningKey, *, at: datetime | None = None
) -> Endorsement:
    """The dependent's word that an instance key is its own."""
    issued_at = at or datetime.now(UTC)
    instance = key_id(instance_public)
    payload = _endorsement_bytes(env, dependent, instance, instance_public, issued_at)
    return Endorsement(
        env=env,
        dependent=dependent,
        instance=instance,
        instance_key=b64u_encode(instance_public),
        issued_at=issued_at,
        signature=b64u_encode(key.sign(ENDORSEMENT_TYPE, payload)),
    )


def instance_key(endorsement: Endorsement, dependent: str, instance: str, trust: Trust) -> bytes:
    """The instance's public key, if its enrolled dependent endorsed it.

    Raises:
        AuthorityError: the dependent is not enrolled.
        WrongAuthorError: the endorsement is for another dependent or instance.
        SignatureError: the dependent did not sign it.
    """
    raw = b64u_decode(endorsement.instance_key)
    if (endorsement.dependent, endorsement.instance, key_id(raw)) != (dependent, instance, instance):
        text = f"endorsement is for {endorsement.dependent}/{endorsement.instance}, expected {dependent}/{instance}"
        raise WrongAuthorError(text)
    _same_environment(endorsement, trust, "endorsement")
    payload = _endorsement_bytes(endorsement.env, dependent, instance, raw, endorsement.issued_at)
    signer = b64u_decode(trust.dependent(dependent).signing_key)
    verify(signer, ENDORSEMENT_TYPE, payload, b64u_decode(endorsement.signature))
    return raw


def _endorsement_bytes(env: str, dependent: str, instance: str, raw: bytes, issued_at: datetime) -> bytes:
    return canonical_json(
        {
            "env": env,
            "dependent": dependent,
            "instance": instance,
            "key": raw.hex(),
            "issued_at": issued_at.isoformat(),
        }
    )


def _by_service(message: BusMessage, models: Iterable[type[M]], service: Service, trust: Trust) -> Stored[M]:
    stored = unpack(message, models, trust.at(message.stored_at).service_keys(service))
    _same_environment(stored.model, trust, message.subject)
    if getattr(stored.model, "author", service) != service:
        text = f"{message.subject}: author is {getattr(stored.model, 'author', None)}, expected {service}"
        raise WrongAuthorError(text)
    return stored


def _author_in_subject(message: BusMessage, position: int) -> Service:
    token = (message.subject.split(".") + [""] * (position + 1))[position]
    service = _SERVICES.get(token)
    if service is None:
        text = f"{message.subject}: expected a service as token {position + 1}, found {token!r}"
        raise WrongAuthorError(text)
    return service


def _same_environment(model: object, trust: Trust, where: str) -> None:
    env = getattr(model, "env", None)
    if env != trust.env:
        text = f"{where}: made for environment {env}, expected {trust.env}"
        raise ForeignEnvironmentError(text)


S = TypeVar("S", Signed, SignedCommand)


def _signed_json(data: bytes, model: type[S], *, where: str) -> S:
    if len(data) > MAX_MESSAGE_BYTES * 2:  # base64 and the receipt inside a lease request
        text = f"{where}: {len(data)} bytes, expected at most {MAX_MESSAGE_BYTES * 2}"
        raise OversizedError(text)
    return read_signed(data, model, where=where)
