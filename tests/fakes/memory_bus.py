"""``Bus`` on a server in memory, which stores, refuses and answers as nats-server does where the services look.

Everything above the wire is the real ``Bus``: conditions, answers, errors, trust. ``tests/system/test_memory_bus.py`` runs
the same contract on both. What no real server does on demand is added: ``before`` and ``after`` a message of a subject is
stored, or before it is read, a test may do something (before a direct read it may be awaited) or fail, and direct reads may
lag behind the leader.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.sdk.trace import TracerProvider

from rekey_core.authority import STREAMS, Stream, StreamConfig, Subjects
from rekey_core.envelope import BusMessage, own_headers
from rekey_core.errors import UnavailableError, UnknownOutcomeError
from rekey_core.jetstream import HEADER_BYTES, stream_config
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from rekey_runtime import wire
from rekey_runtime.at_work import AtWork
from rekey_runtime.bus import Bus
from rekey_runtime.link import Link
from rekey_runtime.metrics import Metrics
from rekey_runtime.room import Room
from rekey_runtime.settings import ServiceSettings
from rekey_runtime.telemetry import Tracing
from rekey_runtime.trust_store import TrustStore
from rekey_runtime.under_way import UnderWay
from rekey_runtime.waves import Waves

MOST_SUBJECTS: Final = 1024  # in one answer to ``multi_last``; nats-server answers 413 above it
NONE: Final = Path("none")  # files that a bus in memory has no use for

Hook = Callable[[], object]


@dataclass
class MemoryServer:
    """The streams of one environment; every message of all streams in the order in which they were stored."""

    env: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    lag_behind: dict[Stream, int] = field(
        default_factory=dict
    )  # direct reads show nothing after this sequence
    full: set[Stream] = field(default_factory=set)
    shares: dict[Stream, float] = field(default_factory=dict)  # of a stream that is said to be used
    _stored: dict[Stream, list[BusMessage]] = field(default_factory=dict)
    _sequences: dict[Stream, int] = field(default_factory=dict)
    _hooks: list[tuple[str, str, Hook]] = field(default_factory=list)
    _open: dict[str, list[tuple[str, bytes, Mapping[str, str]]]] = field(default_factory=dict)  # batches

    def once(self, moment: str, subject_filter: str, hook: Hook) -> None:
        """Call ``hook`` the first time that a subject is stored to (``before``, ``after``) or asked for (``read``)."""
        self._hooks.append((moment, subject_filter, hook))

    def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> bytes:
        """What the server answers; to a message in the middle of a batch nothing."""
        batch = self._open.setdefault(headers.get("Nats-Batch-Id", ""), [])
        batch.append((subject, data, headers))
        if "Nats-Batch-Id" in headers and "Nats-Batch-Commit" not in headers:
            return b""
        del self._open[headers.get("Nats-Batch-Id", "")]
        for one, _, _ in batch:
            self.call("before", one)
        said = self._stored_together(batch)
        if isinstance(said, tuple):
            return json.dumps({"error": {"err_code": said[0], "description": said[1]}}).encode()
        for one, _, _ in batch:
            self.call("after", one)
        return json.dumps({"stream": "", "seq": said}).encode()

    def _stored_together(
        self, batch: Sequence[tuple[str, bytes, Mapping[str, str]]]
    ) -> tuple[int, str] | int:
        """All or none; each check sees the state before the batch."""
        for message in batch:
            refused = self._refused(self._stream_of(message[0]), *message)
            if refused is not None:
                return refused
        return [self.store(*message) for message in batch][-1]

    def store(
        self, subject: str, data: bytes, headers: Mapping[str, str], *, at: datetime | None = None
    ) -> tuple[int, str] | int:
        """The sequence, or nats-server's error code and description."""
        config = self._stream_of(subject)
        stream = config.name
        refused = self._refused(config, subject, data, headers)
        if refused is not None:
            return refused
        kept = self._stored.setdefault(stream, [])
        if config.last_per_subject:
            kept[:] = [message for message in kept if message.subject != subject]
        sequence = self._sequences[stream] = self._sequences.get(stream, 0) + 1
        own = own_headers(headers)
        kept.append(BusMessage(stream.value, subject, own, data, sequence, at or self.clock()))
        return sequence

    def messages(self, stream: Stream, subject_filter: str = ">") -> list[BusMessage]:
        """What the leader has, oldest first."""
        return [m for m in self._stored.get(stream, []) if matches(subject_filter, m.subject)]

    def direct(self, stream: Stream, filters: Sequence[str]) -> list[BusMessage]:
        """What a direct read shows."""
        newest = self.lag_behind.get(stream, self._sequences.get(stream, 0))
        kept = self._stored.get(stream, [])
        return [m for m in kept if m.sequence <= newest and any(matches(f, m.subject) for f in filters)]

    def forget(self, stream: Stream) -> None:
        """Lose what a stream holds, as a bus that was set back; its sequences go on."""
        self._stored.pop(stream, None)

    def call(self, moment: str, subject: str) -> object:
        """Run the hook that waits for this moment of a subject, or of the filter that is asked for; what it returns."""
        for entry in self._hooks:
            if entry[0] == moment and (entry[1] == subject or matches(entry[1], subject)):
                self._hooks.remove(entry)
                return entry[2]()
        return None

    def _stream_of(self, subject: str) -> StreamConfig:
        for config in STREAMS:
            if any(matches(pattern.format(env=self.env), subject) for pattern in config.subjects):
                return config
        raise UnknownOutcomeError(f"{subject}: no responders")

    def _refused(
        self, config: StreamConfig, subject: str, data: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str] | None:
        if headers.get("Nats-Expected-Stream", config.name.value) != config.name.value:
            return wire.NOT_EXPECTED_STREAM, "expected stream does not match"
        if len(data) + sum(len(k) + len(v) + 4 for k, v in headers.items()) > (
            config.max_message_bytes + HEADER_BYTES
        ):
            return wire.TOO_LARGE, "message size exceeds maximum allowed"
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None:
            check = headers.get("Nats-Expected-Last-Subject-Sequence-Subject", subject)
            last = max((m.sequence for m in self.messages(config.name, check)), default=0)
            if last != int(expected):
                return wire.WRONG_LAST_SEQUENCE[0], f"wrong last sequence: {last}"
        if config.write_once and self.messages(config.name, subject):
            return wire.STORE_FAILED, "maximum messages per subject exceeded"
        if config.name in self.full:
            return wire.STORE_FAILED, "maximum bytes exceeded"
        return None


class MemoryBus(Bus):
    """One service's ``Bus``; its four ways to the server end in a ``MemoryServer``. It has no connection to bind to."""

    def __init__(self, server: MemoryServer, settings: ServiceSettings, signer: SigningKey) -> None:
        """No broker, no certificates: ``Bus.__init__`` is not called."""
        self.server = server
        self.settings = settings
        self.signers = (signer,)
        self.subjects = Subjects(settings.env)
        self.trust = TrustStore(self)
        self.room = Room(self)
        self.tracing = Tracing(TracerProvider(shutdown_on_exit=False))
        self.metrics = Metrics(settings.service)
        self.at_work = AtWork()
        self.under_way = UnderWay()
        self._waves = Waves(self._store)
        self.violations = 0
        self.dropped = 0

    @contextmanager
    def _staying(self) -> Iterator[Link | None]:
        yield None

    async def _write(
        self, subject: str, data: bytes, headers: dict[str, str], link: Link | None = None
    ) -> bytes:
        assert link is None
        return self.server.publish(subject, data, headers)

    async def _send(
        self, subject: str, data: bytes, headers: dict[str, str], link: Link | None = None
    ) -> None:
        assert link is None
        self.server.publish(subject, data, headers)

    async def _ask(self, subject: str, data: bytes) -> Msg:
        verb, _, rest = subject.removeprefix(f"{wire.API}.").partition("GET.")
        if verb == "STREAM.MSG.":
            return _msg(self._leader_answer(Stream(rest), json.loads(data)))
        if verb == "DIRECT.":
            stream, _, name = rest.partition(".")
            if not name:  # the form that says in its body what it asks for
                name = str(json.loads(data)["last_by_subj"])
            await self._reads(name)
            return _direct_msg(self.server.direct(Stream(stream), [name]))
        if subject.startswith(f"{wire.API}.STREAM.INFO."):
            return _msg(self._info(Stream(subject.rpartition(".")[2])))
        raise UnavailableError(f"{subject}: no responders")

    async def _reads(self, subject: str) -> None:
        happens = self.server.call("read", subject)
        if isinstance(happens, Awaitable):
            await happens

    async def _direct(
        self, stream: Stream, question: Mapping[str, object], *, paged: bool = False
    ) -> list[BusMessage]:
        if paged:
            start, batch = question["seq"], question["batch"]
            assert isinstance(start, int)
            assert isinstance(batch, int)
            asked = str(question.get("next_by_subj", ">"))
            await self._reads(asked)
            found = self.server.direct(stream, [asked])
            return [message for message in found if message.sequence >= start][:batch]
        filters = question["multi_last"]
        assert isinstance(filters, list)
        for subject_filter in filters:
            await self._reads(subject_filter)
        newest = {m.subject: m for m in self.server.direct(stream, filters)}
        if len(newest) > MOST_SUBJECTS:
            raise wire.TooManySubjectsError(f"read of {stream}: more subjects than one answer may hold")
        return list(newest.values())

    def _leader_answer(self, stream: Stream, question: dict[str, object]) -> dict[str, object]:
        if "seq" in question:
            found = [m for m in self.server.messages(stream) if m.sequence == question["seq"]]
        else:
            subject = str(question["last_by_subj"])
            self.server.call("read", subject)
            found = self.server.messages(stream, subject)
        if not found:
            return {"error": {"code": 404, "err_code": wire.NO_MESSAGE, "description": "no message found"}}
        message = found[-1]
        head = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in message.headers.items()) + "\r\n"
        return {
            "message": {
                "subject": message.subject,
                "seq": message.sequence,
                "hdrs": base64.b64encode(head.encode()).decode(),
                "data": base64.b64encode(message.data).decode(),
                "time": _time(message.stored_at),
            }
        }

    def _info(self, stream: Stream) -> dict[str, object]:
        config = next(c for c in STREAMS if c.name is stream)
        kept = self.server.messages(stream)
        size = sum(len(m.data) for m in kept)
        if stream in self.server.shares:
            size = int(self.server.shares[stream] * config.max_bytes)
        return {
            "ts": _time(self.server.clock()),
            "config": stream_config(config, self.server.env, 1),
            "state": {"bytes": size, "messages": len(kept)},
        }


def memory_bus(
    server: MemoryServer, service: Service, signer: SigningKey, genesis: str, home: Path
) -> MemoryBus:
    """A service's bus; its trust is to be loaded from the server's TRUST."""
    settings = ServiceSettings(
        env=server.env,
        service=service,
        bus_url="memory",
        tls_cert=NONE,
        tls_key=NONE,
        tls_ca=NONE,
        signing_key=NONE,
        trust_genesis=genesis,
        state_dir=home / service.value,
    )
    return MemoryBus(server, settings, signer)


def matches(pattern: str, subject: str) -> bool:
    """A NATS subject filter: ``*`` is one token, ``>`` the rest."""
    wanted, found = pattern.split("."), subject.split(".")
    for at, token in enumerate(wanted):
        if token == ">":
            return len(found) > at
        if at >= len(found) or token not in ("*", found[at]):
            return False
    return len(wanted) == len(found)


def _msg(body: dict[str, object]) -> Msg:
    return Msg(_client=Client(), data=json.dumps(body).encode())


def _direct_msg(found: list[BusMessage]) -> Msg:
    if not found:
        return Msg(_client=Client(), headers={"Status": wire.NOT_FOUND})
    message = found[-1]
    place = {
        "Nats-Stream": message.stream,
        "Nats-Subject": message.subject,
        "Nats-Sequence": str(message.sequence),
        "Nats-Time-Stamp": _time(message.stored_at),
    }
    return Msg(_client=Client(), data=message.data, headers={**message.headers, **place})


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
