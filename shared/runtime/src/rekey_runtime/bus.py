"""The bus as a service sees it: append with an expected sequence, read as the leader has it, read many, read all.

Writes end in a sequence or in an error that says what is known: ``ConflictError`` (refused, nothing stored),
``UnavailableError`` (refused for now), ``UnknownOutcomeError`` (read back and compare). Reads never take "unknown" for
"empty" (DESIGN §3).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

import nats.errors
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import Message
from rekey_core.envelope import BusMessage, Packed, pack, timestamp
from rekey_core.errors import ConfigurationError, StaleReadError, UnavailableError, UnknownOutcomeError
from rekey_core.signing import SigningKey
from rekey_core.tracecontext import Attribute
from rekey_runtime import wire
from rekey_runtime.about import event_of, names_in
from rekey_runtime.answers import all_answers, first_answer
from rekey_runtime.at_work import AtWork
from rekey_runtime.identity import read_credentials, read_signing_keys, tls
from rekey_runtime.link import Link
from rekey_runtime.metrics import Metrics
from rekey_runtime.room import Room
from rekey_runtime.settings import ServiceSettings
from rekey_runtime.span_export import provider
from rekey_runtime.telemetry import Tracing
from rekey_runtime.trust_store import TrustStore
from rekey_runtime.under_way import UnderWay
from rekey_runtime.waves import MAX_BATCH, BatchItem, Ready, Waves

log = logging.getLogger(__name__)

PAGE: Final = 500  # messages per page of a rebuild (notes: one page takes some 10 ms)


class Bus:
    """One service's connection: its identity, its key, its trust, its rights."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.credentials = read_credentials(settings)
        self.signers = read_signing_keys(settings.signing_key)  # the first of them signs
        self.subjects = Subjects(settings.env)
        self.trust = TrustStore(self)
        self.room = Room(self)
        self.tracing = Tracing(provider(settings))
        self.metrics = Metrics(settings.service)
        self.at_work = AtWork()
        self.under_way = UnderWay()
        self._waves = Waves(self._store)
        self.violations = 0  # how often the bus refused us a right: 0 in a service that is founded well
        self.dropped = 0  # requests that were not answered because others were before them
        self._link = Link(settings, tls(self.credentials, settings), self._on_error)

    async def connect(self) -> None:
        """Log in.

        Raises:
            UnavailableError: no server, or it does not know this certificate.
        """
        await self._link.open()

    async def start(self) -> None:
        """Bind every subscription.

        Raises:
            UnavailableError: the server went away meanwhile.
        """
        await self._link.start()

    async def move(self, context: ssl.SSLContext, bind: Callable[[], None]) -> None:
        """Go on over a new connection; the one before ends when nothing is under way on it any more.

        ``bind`` registers the subscriptions again, as before ``start``. The new one works before the old one is left, so
        whatever fails leaves everything as it was.

        Raises:
            UnavailableError: the server does not let the new certificate in, or went away.
        """
        link, before = Link(self.settings, context, self._on_error), self._link
        await link.try_certificate()
        await link.open()
        self._link = link
        try:
            bind()
            await link.start()
        except BaseException:
            self._link = before
            await link.retire()
            raise
        await before.retire()

    async def close(self) -> None:
        """Finish what is in flight and leave."""
        try:
            await self._link.leave()
        finally:
            await asyncio.to_thread(self.tracing.close)

    @property
    def signer(self) -> SigningKey:
        """The key that signs now."""
        return self.signers[0]

    @property
    def link(self) -> Link:
        """The connection of now."""
        return self._link

    @property
    def broker(self) -> NatsBroker:
        """Where subscriptions are registered."""
        return self._link.broker

    @property
    def client(self) -> Client:
        """The NATS connection of now; within ``link.use()`` it stays."""
        return self._link.client

    @property
    def source(self) -> str:
        """Our name as a CloudEvents source."""
        return f"/rekey/{self.settings.env}/{self.settings.service}"

    def pack(self, model: Message) -> Packed:
        """Sign a model as this service."""
        return pack(model, self.under_way.sign(self.signer), source=self.source)

    async def publish(
        self,
        stream: Stream,
        subject: str,
        packed: Packed,
        *,
        expected_last: int | None = None,
        check_subject: str | None = None,
    ) -> int:
        """Store one message; its sequence.

        ``expected_last``: the last sequence that the check subject (default: the subject itself) must have.

        Raises:
            ConflictError: it has another one, or the subject is taken and write-once. Nothing was stored.
            UnavailableError: the stream is full.
            UnknownOutcomeError: no answer; it may be stored.
        """
        ready = BatchItem(subject, packed, expected_last, check_subject)
        with self.metrics.append(stream), self._storing(stream, subject):
            return await self._store([self._ready(stream, ready)])

    async def publish_batch(self, stream: Stream, items: Sequence[BatchItem]) -> int:
        """Store all or none; the sequence of the last. Raises as ``publish``."""
        if not 1 <= len(items) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages, found {len(items)}")
        return await self._store([self._ready(stream, item) for item in items])

    async def publish_together(self, stream: Stream, *items: BatchItem) -> int:
        """As ``publish_batch``, in one batch with what others of this process wait to have stored in the stream.

        An error is about these items alone, whatever became of the others'.
        """
        with self.metrics.append(stream), self._storing(stream, items[-1].subject):
            return await self._waves.join(stream, [self._ready(stream, item) for item in items])

    def _ready(self, stream: Stream, item: BatchItem) -> Ready:
        headers = item.packed.headers | wire.conditions(stream, item.expected_last, item.check_subject)
        check = item.check_subject or item.subject
        return Ready(item.subject, item.packed.data, headers | self.tracing.headers(), check)

    async def _store(self, messages: Sequence[Ready]) -> int:
        """One message as it is, several as an atomic batch; each under the key that signs now, however long it waited."""
        key = self.signer
        now = [self._signed_now(message, key) for message in messages]
        with self.under_way.sending(key):
            return await self._sent(now)

    def _signed_now(self, message: Ready, key: SigningKey) -> Ready:
        headers = self.under_way.of_now(message.headers, message.data, key)
        return message if headers is message.headers else replace(message, headers=headers)

    async def _sent(self, messages: Sequence[Ready]) -> int:
        if len(messages) == 1:
            answer = await self._write(messages[0].subject, messages[0].data, dict(messages[0].headers))
            return wire.acknowledged(answer, where=messages[0].subject)
        with self._staying() as link:  # over two connections its messages could pass each other
            return await self._store_batch(messages, link)

    async def _store_batch(self, messages: Sequence[Ready], link: Link | None) -> int:
        batch = {"Nats-Batch-Id": uuid.uuid4().hex}
        for number, message in enumerate(messages[:-1], start=1):
            place = {**message.headers, **batch, "Nats-Batch-Sequence": str(number)}
            if number > 1:
                await self._send(message.subject, message.data, place, link)
                continue
            opened = await self._write(message.subject, message.data, place, link)
            if opened:  # a batch that is open answers nothing yet
                wire.acknowledged(opened, where=message.subject)
        last = messages[-1]
        end = {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        answer = await self._write(last.subject, last.data, {**last.headers, **batch, **end}, link)
        return wire.acknowledged(answer, where=last.subject)

    @contextmanager
    def _staying(self) -> Iterator[Link | None]:
        """One connection for everything in the block, which does not end before it does."""
        link = self._link
        with link.use():
            yield link

    async def write_once(self, stream: Stream, subject: str, packed: Packed) -> int:
        """Store the first message of a subject. Raises as ``publish``; ``ConflictError`` when there is one."""
        return await self.publish(stream, subject, packed, expected_last=0)

    async def replace(self, stream: Stream, subject: str, packed: Packed, previous: int) -> int:
        """Store in the place of the message with sequence ``previous`` (0: none). Raises as ``publish``."""
        return await self.publish(stream, subject, packed, expected_last=previous)

    async def last(self, stream: Stream, subject_filter: str) -> BusMessage | None:
        """The newest message that matches, as the leader has it.

        Raises:
            UnavailableError: no leader answered.
        """
        return await self._leader(stream, {"last_by_subj": subject_filter})

    async def at(self, stream: Stream, sequence: int) -> BusMessage | None:
        """The message with this sequence, as the leader has it. Raises as ``last``."""
        return await self._leader(stream, {"seq": sequence})

    async def get(self, stream: Stream, subject: str) -> BusMessage | None:
        """The newest message of one subject by the form of DIRECT.GET that the subject's own right covers.

        Raises:
            UnavailableError: nobody answered.
        """
        return wire.found(stream, await self._ask(f"{wire.API}.DIRECT.GET.{stream}.{subject}", b""), subject)

    async def newest(self, stream: Stream, subject_filter: str) -> BusMessage | None:
        """The newest message that matches, as whoever answers has it; may be behind the leader. Raises as ``last``."""
        question = json.dumps({"last_by_subj": subject_filter}).encode()
        return wire.found(
            stream, await self._ask(f"{wire.API}.DIRECT.GET.{stream}", question), subject_filter
        )

    async def read_many(self, stream: Stream, filters: Sequence[str], *, start: int = 1) -> list[BusMessage]:
        """The newest message of every subject that matches, oldest first; empty only when there is none.

        ``start``: whoever knows what is before this sequence need not get it again, and where there is much does not.

        Raises:
            StaleReadError: the answer was cut short, so what is there is unknown.
        """
        if not filters:
            raise ValueError("expected at least one subject filter")
        try:
            return await self.read_last(stream, filters)
        except wire.TooManySubjectsError:
            found = [m for f in filters for m in [m async for m in self.read_all(stream, f, start=start)]]
        return sorted({m.sequence: m for m in found}.values(), key=lambda m: m.sequence)

    async def read_last(self, stream: Stream, filters: Sequence[str]) -> list[BusMessage]:
        """As ``read_many`` in one answer. Raises also TooManySubjectsError: one answer cannot hold it."""
        found = await self._direct(stream, {"multi_last": list(filters)})
        return sorted(found, key=lambda m: m.sequence)

    async def read_page(self, stream: Stream, first: int, count: int) -> list[BusMessage]:
        """Up to ``count`` messages from sequence ``first`` on, of those that who answers has. Raises as ``read_many``."""
        return await self._direct(stream, {"seq": first, "batch": count}, paged=True)

    async def read_all(
        self,
        stream: Stream,
        subject_filter: str,
        *,
        start: int = 1,
        until: int | None = None,
        batch: int = PAGE,
    ) -> AsyncIterator[BusMessage]:
        """Every message that matches, from sequence ``start`` on, in the stream's order. Raises as ``read_many``.

        ``until``: the last sequence that is wanted; no more messages are asked for than can stand up to there.
        """
        while until is None or start <= until:
            size = batch if until is None else min(batch, until - start + 1)
            question = {"seq": start, "batch": size, "next_by_subj": subject_filter}
            page = await self._direct(stream, question, paged=True)
            for message in page:
                if until is not None and message.sequence > until:
                    return
                yield message
            if len(page) < size:
                return
            start = page[-1].sequence + 1

    async def _direct(
        self, stream: Stream, question: Mapping[str, object], *, paged: bool = False
    ) -> list[BusMessage]:
        """All messages of one DIRECT.GET answer; complete, or an error. A page may leave some for the next one."""
        asked, wait_s = json.dumps(question).encode(), self.settings.request_timeout_s
        try:
            with self._link.use() as client:
                found, end = await all_answers(
                    client, f"{wire.API}.DIRECT.GET.{stream}", asked, wait_s=wait_s
                )
        except nats.errors.Error as error:
            raise StaleReadError(f"read of {stream}: {str(error) or 'no end of the answer'}") from error
        return wire.complete(stream, end, [wire.direct(stream, message) for message in found], paged=paged)

    async def _leader(self, stream: Stream, question: Mapping[str, object]) -> BusMessage | None:
        answer = await self._ask(f"{wire.API}.STREAM.MSG.GET.{stream}", json.dumps(question).encode())
        return wire.leader_answer(stream, answer.data)

    async def info(self, what: str) -> dict[str, object]:
        """``STREAM.INFO.<stream>`` or ``CONSUMER.INFO.<stream>.<name>`` as the server says it.

        Raises:
            ConfigurationError: there is no such stream or consumer, or no right to see it.
            UnavailableError: nobody answered.
        """
        body: dict[str, object] = json.loads((await self._ask(f"{wire.API}.{what}", b"")).data)
        error = body.get("error")
        if isinstance(error, dict) and error.get("code") == 404:  # noqa: PLR2004 - HTTP's not found
            raise ConfigurationError(f"{what}: {error.get('description')}", hint="run the bus provisioner")
        if error:
            raise UnavailableError(f"{what}: {error}")
        return body

    async def time(self, stream: Stream) -> datetime:
        """What the clock says now that stamps the messages of a stream. Raises as ``info``."""
        return timestamp(str((await self.info(f"STREAM.INFO.{stream}"))["ts"]))

    async def _ask(self, subject: str, data: bytes) -> Msg:
        if (
            not self.client.is_connected
        ):  # or it would be kept and sent when nobody waits for the answer any more
            raise UnavailableError(f"{subject}: not connected to the bus")
        try:
            with self._link.use() as client:
                return await first_answer(client, subject, data, wait_s=self.settings.request_timeout_s)
        except nats.errors.Error as error:
            raise UnavailableError(f"{subject}: {str(error) or 'no answer'}") from error

    def _storing(self, stream: Stream, subject: str) -> AbstractContextManager[None]:
        """A span whose context the message carries on; only where a trace led here."""
        attributes = {Attribute.STREAM: stream.value, **names_in(subject)}
        return self.tracing.span(f"append {event_of(subject)}", attributes, kind=SpanKind.PRODUCER)

    async def _write(
        self, subject: str, data: bytes, headers: dict[str, str], link: Link | None = None
    ) -> bytes:
        wait_s = self.settings.request_timeout_s
        try:
            with (link or self._link).use() as client:
                answer = await client.request(subject, data, timeout=wait_s, headers=headers)
        except nats.errors.Error as error:
            raise UnknownOutcomeError(f"{subject}: {str(error) or 'no answer'}") from error
        return answer.data

    async def _send(
        self, subject: str, data: bytes, headers: dict[str, str], link: Link | None = None
    ) -> None:
        try:
            with (link or self._link).use() as client:
                await client.publish(subject, data, headers=headers)
        except nats.errors.Error as error:
            raise UnknownOutcomeError(f"{subject}: {error}") from error

    def overloaded(self) -> None:
        """A request is dropped: others are before it, and who asked asks again."""
        self.dropped += 1
        self.metrics.dropped()
        if self.dropped & (self.dropped - 1) == 0:  # at 1, 2, 4, 8, …: overload must not fill the log as well
            log.warning("overload: %d requests dropped so far", self.dropped, extra={"event": "overload"})

    async def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.violations += 1
            self.metrics.violation()
            log.error("the bus refused a right: %s", error, extra={"event": "permissions-violation"})
        elif isinstance(error, nats.errors.SlowConsumerError):
            self.overloaded()
        else:
            log.warning("bus: %s", error, extra={"event": "bus-error"})
