"""What an identity must not do on the bus, generated from the authority table.

Every identity's rights are turned into concrete subjects; whatever of the others' an attacker's own rights do not
cover is an attempt. The administrative API of JetStream is added in both spellings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rekey_core.authority import CONSUMERS, STREAMS, Identity
from rekey_core.jetstream import consumer_config, stream_config
from rekey_provision.render import inbox
from rekey_provision.rights import MANY, hears, rights, serves
from tests.system.certificates import ENV

PREFIXES = ("$JS.API", "JSC.API")
STREAM_VERBS = (
    "CREATE",
    "UPDATE",
    "DELETE",
    "PURGE",
    "INFO",
    "MSG.DELETE",
    "MSG.GET",
    "SNAPSHOT",
    "RESTORE",
    "LEADER.STEPDOWN",
    "PEER.REMOVE",
)
CONSUMER_VERBS = (
    "CREATE",
    "DURABLE.CREATE",
    "DELETE",
    "PAUSE",
    "RESET",
    "UNPIN",
    "INFO",
    "MSG.NEXT",
    "LEADER.STEPDOWN",
)


@dataclass(frozen=True)
class Who:
    """Somebody with a certificate."""

    identity: Identity
    name: str = ""

    def __str__(self) -> str:
        return f"{self.identity} {self.name}".strip()

    @property
    def inbox(self) -> str:
        """The prefix of its reply subjects."""
        return inbox(self.identity, self.name)

    def may_publish(self) -> list[str]:
        """Its rights, as its own account names them."""
        return [right.ours for right in rights(self.identity, ENV, self.name or "*")]

    def may_subscribe(self) -> list[str]:
        """What it may hear."""
        served = [subject for subject, _ in serves(self.identity, ENV)]
        return [f"{self.inbox}.>", *hears(self.identity, ENV, self.name or "*"), *served]


EVERYBODY = (
    *(Who(identity) for identity in Identity if identity not in MANY),
    Who(Identity.APPLICATION, "orders"),
    Who(Identity.APPLICATION, "billing"),
    Who(Identity.PERSON, "alice"),
    Who(Identity.PERSON, "rita"),
)


@dataclass(frozen=True)
class Attempt:
    """One message that must not get through."""

    subject: str
    data: bytes = b'{"forged": true}'


def covers(pattern: str, subject: str) -> bool:
    """Whether a NATS subject pattern matches a concrete subject."""
    theirs, ours = subject.split("."), pattern.split(".")
    if ours[-1] == ">":
        return len(theirs) >= len(ours) and all(
            o in {"*", t} for o, t in zip(ours[:-1], theirs, strict=False)
        )
    return len(theirs) == len(ours) and all(o in {"*", t} for o, t in zip(ours, theirs, strict=True))


def concrete(pattern: str) -> str:
    """One subject that the pattern matches."""
    return ".".join({"*": "seed", ">": "seed.seed"}.get(token, token) for token in pattern.split("."))


def forbidden_publishes(who: Who) -> list[Attempt]:
    """Every subject of the table and of the administrative API that is not the attacker's."""
    mine = who.may_publish()
    found = {a.subject: a for a in (*_of_others(), *_administration(), *_reads(), *_acknowledgements())}
    return [a for a in found.values() if not any(covers(pattern, a.subject) for pattern in mine)]


def stored_subjects() -> list[str]:
    """One concrete subject of each right to store or ask something: what a forged reply would aim at."""
    found = {
        concrete(s) for who in EVERYBODY for s in who.may_publish() if s.split(".")[0] not in {"$JS", "JSC"}
    }
    return sorted(found)


def forbidden_targets(who: Who) -> list[str]:
    """What a forged reply subject of this attacker must not reach."""
    others = [w for w in EVERYBODY if w != who]
    inboxes = [f"{w.inbox}.seed" for w in others]
    heard = [concrete(s) for w in others for s in w.may_subscribe()]
    mine = [*who.may_publish(), *who.may_subscribe()]
    targets = dict.fromkeys([*stored_subjects(), *inboxes, *heard, "$SYS.REQ.SERVER.PING"])
    return [t for t in targets if not any(covers(pattern, t) for pattern in mine)]


def forbidden_subscriptions(who: Who) -> list[str]:
    """What this attacker must not hear."""
    everything = [
        ">",
        "*",
        "*.>",
        "$SYS.>",
        "$JS.>",
        "JSC.>",
        "$JS.EVENT.ADVISORY.>",
        "_R_.>",
        "_INBOX.>",
        "poke.>",
    ]
    streams = [subject.format(env=ENV) for stream in STREAMS for subject in stream.subjects]
    others = [s for w in EVERYBODY for s in w.may_subscribe()]
    acks = ["$JS.ACK.>", *(f"$JS.ACK.{c.stream}.{c.name}.>" for c in CONSUMERS)]
    mine = set(who.may_subscribe())
    return [s for s in dict.fromkeys([*everything, *streams, *others, *acks]) if s not in mine]


def own_questions(who: Who) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Each of the attacker's rights in a form that the server answers: the carrier of a forged reply subject.

    Publishes carry a condition that cannot hold, so that the answer comes and nothing is stored.
    """
    for subject in map(concrete, who.may_publish()):
        if subject.startswith("$JS.ACK"):
            continue
        if "MSG.NEXT" in subject:
            yield subject, b'{"batch": 1, "no_wait": true}', {}
        elif ".DIRECT.GET." in subject and len(subject.split(".")) == len(
            ["JSC", "API", "DIRECT", "GET", "STREAM"]
        ):
            yield subject, json.dumps({"multi_last": [">"]}).encode(), {}
        elif ".STREAM.MSG.GET." in subject:
            yield subject, b'{"last_by_subj": ">"}', {}
        elif ".API." in subject:
            yield subject, b"", {}
        else:
            yield subject, b'{"forged": true}', {"Nats-Expected-Last-Subject-Sequence": "999999"}


def _of_others() -> Iterator[Attempt]:
    for who in EVERYBODY:
        for pattern in who.may_publish():
            yield Attempt(concrete(pattern))
    for stream in STREAMS:
        for subject in stream.subjects:
            yield Attempt(concrete(subject.format(env=ENV)))
    for subject in (
        "poke.ntc.dev.orders.seed",
        "poke.stop.dev.billing.seed",
        "$SYS.REQ.SERVER.PING",
        "anything",
    ):
        yield Attempt(subject)


def _administration() -> Iterator[Attempt]:
    for prefix in PREFIXES:
        for bare in ("INFO", "STREAM.NAMES", "STREAM.LIST", "ACCOUNT.PURGE.CORE", "META.LEADER.STEPDOWN"):
            yield Attempt(f"{prefix}.{bare}", b"{}")
        for stream in STREAMS:
            body = json.dumps(stream_config(stream, ENV) | {"deny_delete": False, "max_msgs": 1}).encode()
            for verb in STREAM_VERBS:
                yield Attempt(
                    f"{prefix}.STREAM.{verb}.{stream.name}", body if verb in {"CREATE", "UPDATE"} else b"{}"
                )
            for verb in ("CREATE", "NAMES", "LIST"):
                yield Attempt(f"{prefix}.CONSUMER.{verb}.{stream.name}", _thief(stream.name))
            yield Attempt(f"{prefix}.CONSUMER.CREATE.{stream.name}.thief.seed", _thief(stream.name))
        yield from _consumers(prefix)
        yield Attempt(f"{prefix}.STREAM.CREATE.THIEF", b'{"name": "THIEF", "subjects": ["thief.>"]}')


def _thief(stream: str) -> bytes:
    """A push consumer that would deliver to a subject of the server's choice (nats-server issue 8274)."""
    return json.dumps(
        {"stream_name": stream, "config": {"deliver_subject": "evt.dev.seed.1.revocation.suspended.x"}}
    ).encode()


def _consumers(prefix: str) -> Iterator[Attempt]:
    for consumer in CONSUMERS:
        body = {"stream_name": consumer.stream, "config": consumer_config(consumer, ENV) | {"max_deliver": 1}}
        for verb in CONSUMER_VERBS:
            data = {
                "MSG.NEXT": b'{"batch": 1, "no_wait": true}',
                "PAUSE": b'{"pause_until": "2099-01-01T00:00:00Z"}',
            }
            yield Attempt(
                f"{prefix}.CONSUMER.{verb}.{consumer.stream}.{consumer.name}",
                data.get(verb, json.dumps(body).encode()),
            )


def _reads() -> Iterator[Attempt]:
    """Every form of reading every stream, and every stored subject by the subject form."""
    for prefix in PREFIXES:
        for stream in STREAMS:
            yield Attempt(f"{prefix}.DIRECT.GET.{stream.name}", b'{"multi_last": [">"]}')
            for subject in _seeded(stream.subjects):
                yield Attempt(f"{prefix}.DIRECT.GET.{stream.name}.{subject}", b"")
                yield Attempt(f"{prefix}.DIRECT.GET.{stream.name}.{subject}", b'{"multi_last": [">"]}')


def _seeded(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in (p.format(env=ENV) for p in patterns):
        yield concrete(pattern)
        yield from (s for s in stored_subjects() if covers(pattern, s))
        if pattern.startswith(("ntc.", "stop.")):
            yield from (pattern.replace(">", f"{name}.seed") for name in ("orders", "billing"))


def _acknowledgements() -> Iterator[Attempt]:
    for consumer in CONSUMERS:
        for word in (b"+ACK", b"+TERM", b"-NAK"):
            place = (
                f"$JS.ACK.{consumer.stream}.{consumer.name}.1.1.1.{1_700_000_000_000_000_000 + len(word)}.0"
            )
            yield Attempt(place, word)
