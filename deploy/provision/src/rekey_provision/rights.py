"""The authority table as rights of identities: what each may publish, hear and be answered by whom.

A right of another account's subject is an export there and an import here; its name here may differ (JetStream's API
is imported under ``JSC.API``, since unmapped imports of it do not work across accounts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rekey_core.authority import (
    APPENDS,
    CONSUMERS,
    HEARS,
    INSPECTORS,
    READS,
    SERVES,
    STREAMS,
    Form,
    Identity,
    Reads,
    Stream,
)
from rekey_core.errors import ConfigurationError
from rekey_core.room import WATCHED

CORE: Final = "CORE"
MANY: Final = frozenset({Identity.APPLICATION, Identity.PERSON})  # of these there are many, each with a name
SERVICES: Final = tuple(
    i for i in Identity if i not in MANY | {Identity.PROVISIONER, Identity.ENROLMENT, Identity.BACKUP}
)


@dataclass(frozen=True)
class Right:
    """One subject that an identity may publish on, and who answers.

    ``theirs`` is the subject in the account of ``server``; ``streamed``: several answers to one request.
    """

    server: str
    theirs: str
    streamed: bool = False

    @property
    def ours(self) -> str:
        """The subject as the identity's own account names it."""
        return self.theirs.replace("$JS.API", "JSC.API", 1) if self.server == CORE else self.theirs


def account(identity: Identity, room: int | None = None) -> str:
    """The account's name; applications and people have numbered ones, one user in each (``rooms``)."""
    base = identity.upper().replace("-", "_")
    return base if room is None else f"{base}_{room:03d}"


def rooms(names: Sequence[str], size: int) -> dict[str, int]:
    """The number of each name's account: a new name at the end moves nobody.

    Inside one account a forged reply subject reaches the inbox of every other user, so everybody has their own. But an
    account that a reload introduces lacks its imports (nats-server 2.15; issue 8560 for clusters), so the accounts are
    there from the start, empty, and a reload only puts a user into one.

    Raises:
        ConfigurationError: more names than accounts.
    """
    if len(names) > size:
        raise ConfigurationError(
            f"expected at most {size} names, found {len(names)}", hint="found more accounts"
        )
    taken: dict[str, int] = {}
    for name in names:
        room = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % size
        while room in taken.values():
            room = (room + 1) % size
        taken[name] = room
    return taken


def rights(identity: Identity, env: str, name: str = "*") -> list[Right]:
    """Everything an identity may publish on; ``name`` is the application or person, ``*`` for all of them."""
    if identity is Identity.PROVISIONER:
        found = list(_provisions())
    else:
        found = [*_appends(identity), *_reads(identity), *_consumes(identity), *_sees(identity)]
    return [Right(r.server, r.theirs.format(env=env, self=name), r.streamed) for r in found]


def hears(identity: Identity, env: str, name: str = "*") -> list[str]:
    """The core subjects of CORE that an identity may subscribe to."""
    return [h.subject.format(env=env, self=name) for h in HEARS if h.listener is identity]


def serves(identity: Identity, env: str) -> list[tuple[str, Identity]]:
    """The subjects that an identity answers, and for whom."""
    return [(s.subject.format(env=env), s.client) for s in SERVES if s.server is identity]


def _provisions() -> Iterator[Right]:
    """Look, create what is not there, store the first trust document; no way to alter or delete."""
    yield Right(CORE, "trust.{env}.1")
    yield Right(CORE, "$JS.API.DIRECT.GET.TRUST.trust.{env}.1", streamed=True)
    yield Right(CORE, "$JS.API.STREAM.NAMES")
    for stream in STREAMS:
        for verb in ("STREAM.INFO", "STREAM.CREATE", "CONSUMER.NAMES"):
            yield Right(CORE, f"$JS.API.{verb}.{stream.name}")
    for consumer in CONSUMERS:
        place = f"{consumer.stream}.{consumer.name}"
        yield Right(CORE, f"$JS.API.CONSUMER.INFO.{place}")
        yield Right(CORE, f"$JS.API.CONSUMER.DURABLE.CREATE.{place}")


def _appends(identity: Identity) -> Iterator[Right]:
    for right in (a for a in APPENDS if a.author is identity):
        server = CORE if right.stream else _server(right.subject, identity)
        yield Right(server, right.subject)


def _server(subject: str, client: Identity) -> str:
    for served in SERVES:
        if served.client is client and subject.startswith(served.subject.partition(".")[0] + "."):
            return account(served.server)
    raise ValueError(f"nobody serves {subject} for {client}")


def _reads(identity: Identity) -> Iterator[Right]:
    for read in (r for r in READS if r.reader is identity):
        yield _read(read)


def _read(read: Reads) -> Right:
    match read.form:
        case Form.BODY:
            return Right(CORE, f"$JS.API.DIRECT.GET.{read.stream}", streamed=True)
        case Form.SUBJECT:
            return Right(CORE, f"$JS.API.DIRECT.GET.{read.stream}.{read.subject}", streamed=True)
        case Form.LEADER:
            return Right(CORE, f"$JS.API.STREAM.MSG.GET.{read.stream}")


def _consumes(identity: Identity) -> Iterator[Right]:
    for consumer in (c for c in CONSUMERS if c.identity is identity):
        place = f"{consumer.stream}.{consumer.name}"
        yield Right(CORE, f"$JS.API.CONSUMER.INFO.{place}")
        yield Right(CORE, f"$JS.API.CONSUMER.MSG.NEXT.{place}", streamed=True)
        yield Right(CORE, f"$JS.ACK.{place}.>")


def _sees(identity: Identity) -> Iterator[Right]:
    """Services compare the effective configuration of the streams that they use (DESIGN §4) and see how full they are.

    Inspectors see all figures.
    """
    everything = identity in INSPECTORS
    if identity in SERVICES:
        for stream in (
            [stream.name for stream in STREAMS] if everything else sorted({*used(identity), *WATCHED})
        ):
            yield Right(CORE, f"$JS.API.STREAM.INFO.{stream}")
    if everything:
        for consumer in (c for c in CONSUMERS if c.identity is not identity):
            yield Right(CORE, f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}")


def used(identity: Identity) -> list[Stream]:
    """The streams whose content an identity reads as a whole."""
    read: Iterable[Stream] = (r.stream for r in READS if r.reader is identity and r.form is not Form.SUBJECT)
    consumed = (c.stream for c in CONSUMERS if c.identity is identity)
    return sorted({*read, *consumed})
