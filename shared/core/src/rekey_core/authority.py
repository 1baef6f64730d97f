"""Who may say what, where, and who may read it: the one table that the bus, the services and the tests render.

Identity of a message's author is its subject: the bus lets only that identity publish there, and every reader checks
the signature against it. Nothing here is written a second time anywhere (DESIGN §4).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from rekey_core.contracts import (
    FACTS,
    MAX_MESSAGE_BYTES,
    MAX_NOTICE_BYTES,
    OPS,
    VERBS,
)
from rekey_core.names import Service, is_token


class Identity(enum.StrEnum):
    """Everybody who may log in to the bus; applications and people are many under one account each."""

    PROVISIONER = "provisioner"
    ENROLMENT = "enrolment"
    BACKUP = "backup"
    GENERATOR = "generator"
    DISTRIBUTOR = "distributor"
    ROTATION_SCHEDULER = "rotation-scheduler"
    REVOCATION = "revocation"
    AUDIT = "audit"
    APPLICATION = "application"
    PERSON = "person"


class Stream(enum.StrEnum):
    """Where messages are durable."""

    LIFECYCLE = "LIFECYCLE"
    COMMANDS = "COMMANDS"
    MATERIAL = "MATERIAL"
    LEASES = "LEASES"
    QUOTAS = "QUOTAS"
    NOTICES = "NOTICES"
    RECEIPTS = "RECEIPTS"
    REPORTS = "REPORTS"
    TRUST = "TRUST"
    ADVISORIES = "ADVISORIES"


@dataclass(frozen=True)
class StreamConfig:
    """One stream. ``write_once``: a second message on a subject is refused; else the newest replaces the older."""

    name: Stream
    subjects: tuple[str, ...]  # with {env}
    write_once: bool
    max_message_bytes: int = MAX_MESSAGE_BYTES
    atomic: bool = False
    last_per_subject: bool = True  # False: keeps every message of a subject
    republish_to: str | None = None
    max_bytes: int = 1 << 30
    max_age_s: int = 0  # 0: for ever


LEASES_KEPT_S: Final = 24 * 3600  # far longer than any lease: readers find few dead ones

STREAMS: Final[tuple[StreamConfig, ...]] = (
    StreamConfig(
        Stream.LIFECYCLE, ("evt.{env}.>", "dlv.{env}.>"), write_once=True, atomic=True, max_bytes=4 << 30
    ),
    StreamConfig(Stream.COMMANDS, tuple(f"cmd.{verb}.{{env}}.>" for verb in VERBS), write_once=True),
    StreamConfig(Stream.MATERIAL, ("mat.{env}.>", "bak.{env}.>"), write_once=False, atomic=True),
    StreamConfig(Stream.LEASES, ("lse.{env}.>",), write_once=False, max_age_s=LEASES_KEPT_S),
    StreamConfig(Stream.QUOTAS, ("qta.{env}.>",), write_once=False),
    StreamConfig(
        Stream.NOTICES,
        ("ntc.{env}.>", "stop.{env}.>"),
        write_once=False,
        max_message_bytes=MAX_NOTICE_BYTES,
        republish_to="poke",
    ),
    StreamConfig(Stream.RECEIPTS, ("rcpt.{env}.>",), write_once=False),
    StreamConfig(Stream.REPORTS, ("rpt.{env}.>",), write_once=False),
    StreamConfig(Stream.TRUST, ("trust.{env}.*",), write_once=True, max_message_bytes=MAX_NOTICE_BYTES),
    StreamConfig(
        Stream.ADVISORIES,
        ("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
        write_once=False,
        last_per_subject=False,
    ),
)


@dataclass(frozen=True)
class Appends:
    """The right to publish on a subject. Placeholders: {env}; {self} is the name of the application or person."""

    author: Identity
    subject: str
    stream: Stream | None  # None: a core request


def _facts() -> tuple[Appends, ...]:
    return tuple(
        Appends(
            Identity(fact.AUTHOR.value), f"evt.{{env}}.*.*.{fact.AUTHOR}.{fact.EVENT}.*", Stream.LIFECYCLE
        )
        for fact in FACTS
    )


def _reports() -> tuple[Appends, ...]:
    services = (Identity(service.value) for service in Service)
    return tuple(Appends(service, f"rpt.{{env}}.{service}.*.*", Stream.REPORTS) for service in services)


APPENDS: Final[tuple[Appends, ...]] = (
    *_facts(),
    *_reports(),
    *(Appends(Identity.PERSON, f"cmd.{verb}.{{env}}.*.*", Stream.COMMANDS) for verb in VERBS),
    Appends(Identity.PERSON, "ask.{env}.{self}.*", None),
    Appends(Identity.GENERATOR, "mat.{env}.*.*", Stream.MATERIAL),
    Appends(Identity.GENERATOR, "bak.{env}.*.*", Stream.MATERIAL),
    Appends(Identity.BACKUP, "rst.{env}.*.*", None),
    Appends(Identity.BACKUP, "att.{env}.*", None),
    Appends(Identity.DISTRIBUTOR, "dlv.{env}.*.*.*", Stream.LIFECYCLE),
    Appends(Identity.DISTRIBUTOR, "ntc.{env}.*.*", Stream.NOTICES),
    Appends(Identity.DISTRIBUTOR, "lse.{env}.*.*", Stream.LEASES),
    Appends(Identity.DISTRIBUTOR, "qta.{env}.*.*", Stream.QUOTAS),
    Appends(Identity.REVOCATION, "stop.{env}.*.*", Stream.NOTICES),
    Appends(Identity.ENROLMENT, "trust.{env}.*", Stream.TRUST),
    Appends(Identity.APPLICATION, "rcpt.{env}.{self}.*", Stream.RECEIPTS),
    *(Appends(Identity.APPLICATION, f"req.{{env}}.{{self}}.*.{op}", None) for op in OPS),
)


@dataclass(frozen=True)
class Serves:
    """A core subject that an identity answers, for the accounts of others."""

    server: Identity
    subject: str
    client: Identity


SERVES: Final[tuple[Serves, ...]] = (
    Serves(Identity.DISTRIBUTOR, "req.{env}.>", Identity.APPLICATION),
    Serves(Identity.AUDIT, "ask.{env}.>", Identity.PERSON),
    Serves(Identity.GENERATOR, "rst.{env}.*.*", Identity.BACKUP),
    Serves(Identity.AUDIT, "att.{env}.*", Identity.BACKUP),
)


class Form(enum.StrEnum):
    """How a stream may be read without a consumer.

    ``BODY``: ``DIRECT.GET.<stream>`` with the question in the body: everything in the stream. ``SUBJECT``:
    ``DIRECT.GET.<stream>.<subject>``: what the permission's subject covers, no more. ``LEADER``:
    ``STREAM.MSG.GET.<stream>``, answered by the stream's leader.
    """

    BODY = "body"
    SUBJECT = "subject"
    LEADER = "leader"


@dataclass(frozen=True)
class Reads:
    """The right to read a stream; ``subject`` only for the SUBJECT form."""

    reader: Identity
    stream: Stream
    form: Form
    subject: str | None = None


def _reads(reader: Identity, stream: Stream, *forms: Form) -> tuple[Reads, ...]:
    return tuple(Reads(reader, stream, form) for form in forms)


_ALL_TRUST: Final = tuple(
    Reads(identity, Stream.TRUST, Form.SUBJECT, "trust.{env}.*")
    for identity in Identity
    if identity is not Identity.PROVISIONER
)

READS: Final[tuple[Reads, ...]] = (
    *_ALL_TRUST,
    *_reads(Identity.GENERATOR, Stream.LIFECYCLE, Form.BODY, Form.LEADER),
    *_reads(Identity.GENERATOR, Stream.MATERIAL, Form.LEADER),
    *_reads(Identity.DISTRIBUTOR, Stream.LIFECYCLE, Form.BODY, Form.LEADER),
    Reads(Identity.DISTRIBUTOR, Stream.MATERIAL, Form.SUBJECT, "mat.{env}.*.*"),
    *_reads(Identity.DISTRIBUTOR, Stream.COMMANDS, Form.BODY, Form.LEADER),
    *_reads(Identity.DISTRIBUTOR, Stream.LEASES, Form.LEADER),
    *_reads(Identity.DISTRIBUTOR, Stream.QUOTAS, Form.LEADER),
    *_reads(Identity.DISTRIBUTOR, Stream.NOTICES, Form.LEADER),
    *_reads(Identity.ROTATION_SCHEDULER, Stream.LIFECYCLE, Form.BODY, Form.LEADER),
    *_reads(Identity.ROTATION_SCHEDULER, Stream.LEASES, Form.BODY, Form.LEADER),
    *_reads(Identity.ROTATION_SCHEDULER, Stream.RECEIPTS, Form.BODY, Form.LEADER),
    *_reads(Identity.ROTATION_SCHEDULER, Stream.QUOTAS, Form.LEADER),
    *_reads(Identity.REVOCATION, Stream.LIFECYCLE, Form.BODY, Form.LEADER),
    *_reads(Identity.REVOCATION, Stream.COMMANDS, Form.BODY, Form.LEADER),
    *_reads(Identity.REVOCATION, Stream.LEASES, Form.BODY, Form.LEADER),
    *_reads(Identity.REVOCATION, Stream.RECEIPTS, Form.BODY, Form.LEADER),
    *_reads(Identity.REVOCATION, Stream.NOTICES, Form.LEADER),
    *(
        read
        for stream in (
            Stream.LIFECYCLE,
            Stream.COMMANDS,
            Stream.LEASES,
            Stream.RECEIPTS,
            Stream.REPORTS,
            Stream.NOTICES,
        )
        for read in _reads(Identity.AUDIT, stream, Form.BODY, Form.LEADER)
    ),
    *_reads(Identity.BACKUP, Stream.LIFECYCLE, Form.BODY, Form.LEADER),
    Reads(Identity.BACKUP, Stream.MATERIAL, Form.SUBJECT, "bak.{env}.*.*"),
    Reads(Identity.APPLICATION, Stream.NOTICES, Form.SUBJECT, "ntc.{env}.{self}.*"),
    Reads(Identity.APPLICATION, Stream.NOTICES, Form.SUBJECT, "stop.{env}.{self}.*"),
)


INSPECTORS: Final = (Identity.AUDIT,)
"""Who may see the figures of every stream and consumer (``INFO``): how many and how far, never a message."""


@dataclass(frozen=True)
class Hears:
    """A core subject that a stream republishes and an identity may subscribe to."""

    listener: Identity
    subject: str


HEARS: Final[tuple[Hears, ...]] = (
    Hears(Identity.APPLICATION, "poke.ntc.{env}.{self}.*"),
    Hears(Identity.APPLICATION, "poke.stop.{env}.{self}.*"),
)


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer; made by the provisioner, bound to by its identity, never created at run time."""

    identity: Identity
    stream: Stream
    name: str
    filters: tuple[str, ...]
    ack_wait_s: int = 5  # so long a message waits when its service died; a handler says "at work" meanwhile
    max_ack_pending: int = 64
    max_deliver: int = -1  # poison is terminated by its verdict, never by exhaustion


CONSUMERS: Final[tuple[Consumer, ...]] = (
    Consumer(
        Identity.GENERATOR,
        Stream.LIFECYCLE,
        "generator",
        ("evt.{env}.*.*.rotation-scheduler.rotation-requested.*",),
        max_ack_pending=128,  # two replicas, each with 64 in hand
    ),
    Consumer(Identity.DISTRIBUTOR, Stream.LIFECYCLE, "distributor", ("evt.{env}.>",)),
    Consumer(
        Identity.DISTRIBUTOR,
        Stream.COMMANDS,
        "distributor-emergency",
        ("cmd.suspend.{env}.>", "cmd.revoke.{env}.>"),
    ),
    Consumer(
        Identity.ROTATION_SCHEDULER,
        Stream.COMMANDS,
        "rotation-scheduler",
        tuple(
            f"cmd.{verb}.{{env}}.>"
            for verb in ("register", "rotate", "waive", "force", "destroy", "destroy-cancel")
        ),
    ),
    Consumer(Identity.ROTATION_SCHEDULER, Stream.LIFECYCLE, "rotation-scheduler-facts", ("evt.{env}.>",)),
    Consumer(Identity.ROTATION_SCHEDULER, Stream.RECEIPTS, "rotation-scheduler-receipts", ("rcpt.{env}.>",)),
    Consumer(Identity.ROTATION_SCHEDULER, Stream.QUOTAS, "rotation-scheduler-quotas", ("qta.{env}.>",)),
    Consumer(
        Identity.REVOCATION,
        Stream.COMMANDS,
        "revocation",
        ("cmd.suspend.{env}.>", "cmd.revoke.{env}.>", "cmd.resume.{env}.>"),
    ),
    Consumer(Identity.AUDIT, Stream.LIFECYCLE, "audit", ("evt.{env}.>", "dlv.{env}.>"), max_ack_pending=1),
    Consumer(Identity.AUDIT, Stream.REPORTS, "audit-reports", ("rpt.{env}.>",)),
    Consumer(Identity.AUDIT, Stream.ADVISORIES, "audit-advisories", ()),
)


@dataclass(frozen=True)
class Subjects:
    """The subjects of one environment, made in one place so that they are byte-identical everywhere."""

    env: str

    def __post_init__(self) -> None:
        _token(self.env)

    def check(self, key: str) -> str:
        """The check subject of a key: what every writer's expected sequence is about. Compared as a string on R3."""
        return f"evt.{self.env}.{_token(key)}.>"

    def fact(self, key: str, version: int, service: str, event: str, event_hex: str) -> str:
        """Where a fact stands; ``event_hex`` is the event id in hex, of which the first 16 digits are used."""
        return f"evt.{self.env}.{_token(key)}.{version}.{_token(service)}.{_token(event)}.{event_hex[:16]}"

    def delivered(self, key: str, version: int, event_hex: str) -> str:
        """Where a batch of deliveries stands."""
        return f"dlv.{self.env}.{_token(key)}.{version}.{event_hex[:16]}"

    def command(self, verb: str, key: str, command_id: str) -> str:
        """Where a command stands: its last token comes from the signed bytes, so nothing hides an earlier one."""
        return f"cmd.{_token(verb)}.{self.env}.{_token(key)}.{command_id[:16]}"

    def material(self, key: str, version: int) -> str:
        """Where the wrapped version lies."""
        return f"mat.{self.env}.{_token(key)}.{version}"

    def backup(self, key: str, version: int) -> str:
        """Where the version lies under a backup KEK."""
        return f"bak.{self.env}.{_token(key)}.{version}"

    def offer(self, key: str, version: int) -> str:
        """Where a version is offered to the generator that came back from its backup."""
        return f"rst.{self.env}.{_token(key)}.{version}"

    def attestation(self, digest: str) -> str:
        """Where a drill's attestation is given to audit; ``digest``: SHA-256 of it in hex."""
        return f"att.{self.env}.{_token(digest[:16])}"

    def notice(self, dependent: str, key: str) -> str:
        """What should be, by the distributor."""
        return f"ntc.{self.env}.{_token(dependent)}.{_token(key)}"

    def stop(self, dependent: str, key: str) -> str:
        """What must stop, by revocation."""
        return f"stop.{self.env}.{_token(dependent)}.{_token(key)}"

    def lease(self, dependent: str, instance: str) -> str:
        """Where an instance's lease stands."""
        return f"lse.{self.env}.{_token(dependent)}.{_token(instance)}"

    def quota(self, key: str, version: int) -> str:
        """Where it stands how much of a version's budget is given away."""
        return f"qta.{self.env}.{_token(key)}.{version}"

    def receipt(self, dependent: str, instance: str) -> str:
        """Where an instance's receipt stands."""
        return f"rcpt.{self.env}.{_token(dependent)}.{_token(instance)}"

    def request(self, dependent: str, instance: str, op: str) -> str:
        """Where an instance asks."""
        return f"req.{self.env}.{_token(dependent)}.{_token(instance)}.{_token(op)}"

    def ask(self, person: str, verb: str) -> str:
        """Where a person asks audit."""
        return f"ask.{self.env}.{_token(person)}.{_token(verb)}"

    def report(self, service: str, kind: str, number: str) -> str:
        """Where a report stands."""
        return f"rpt.{self.env}.{_token(service)}.{_token(kind)}.{_token(number)}"

    def trust(self, n: int) -> str:
        """Where version n of the trust document stands."""
        return f"trust.{self.env}.{n}"


def _token(text: str) -> str:
    if not is_token(text):
        message = f"expected one name of lower-case letters, digits and hyphens, found {text!r}"
        raise ValueError(message)
    return text
