"""A durable and a served subject, bound to a handler; the one place where an error becomes a message's fate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final

import nats.errors
from faststream import AckPolicy
from faststream.nats import NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from rekey_core.authority import Consumer
from rekey_core.envelope import BusMessage, own_headers
from rekey_core.errors import FatalError, RekeyError, Verdict
from rekey_core.tracecontext import Attribute, parse_traceparent
from rekey_runtime import wire
from rekey_runtime.about import OTHER, event_of, handling, names_in, note_code
from rekey_runtime.bus import Bus
from rekey_runtime.metrics import DONE
from rekey_runtime.pulling import Pulling
from rekey_runtime.reports import publish_alert, publish_refusal
from rekey_runtime.request_alarms import RequestAlarms

log = logging.getLogger(__name__)

DELAYS_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # by how often it was delivered


class Consuming:
    """A durable consumer and its handler."""

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        handler: Callable[[BusMessage], Awaitable[None]],
        fail: Callable[[FatalError], None],
        concurrency: int,
    ) -> None:
        self._bus = bus
        self.consumer = consumer
        self._handler = handler
        self._fail = fail
        self._concurrency = concurrency

    def bind(self) -> None:
        """Ask for the messages of what the provisioner made; nothing is created here."""
        hands = min(self._concurrency, self.consumer.max_ack_pending)
        link = self._bus.link
        pulling = Pulling(lambda: link.client, self.consumer, hands, self._bus.settings.fetch_wait_s)

        async def on_message(msg: NatsMessage) -> None:
            raw: Msg = msg.raw_message
            if raw.reply:
                with pulling.taken():
                    await self._on_message(raw)
            else:  # what cannot be acknowledged is no message: the bus says something of a question of ours
                pulling.told(wire.status(raw), raw.subject)

        subscriber = self._bus.broker.subscriber(
            pulling.inbox,
            max_workers=hands + 1,  # one for what the bus says about questions
            ack_policy=AckPolicy.MANUAL,  # the default drops a message on any exception (notes §0.3)
            no_reply=True,
        )
        subscriber(on_message)
        link.beside(lambda: self._asking(pulling), pulling.back)

    async def _asking(self, pulling: Pulling) -> None:
        try:
            await pulling.work()
        except Exception as error:  # nobody would ask for messages any more
            log.exception("asking for messages failed", extra={"event": "unexpected"})
            self._fail(FatalError(type(error).__name__))

    async def _on_message(self, raw: Msg) -> None:
        message = wire.delivered(raw)
        alive = asyncio.create_task(self._keep_alive(raw))
        event, began = event_of(message.subject), time.perf_counter()
        at_work = self._bus.at_work.on(f"{self.consumer.name}: {message.subject}")
        try:
            with at_work, handling(message), self._span(message):
                verdict, error = await self._judge(raw, message)
        finally:
            alive.cancel()
        seconds = time.perf_counter() - began
        self._bus.metrics.message(self.consumer.name, event, verdict, error, seconds)

    def _span(self, message: BusMessage) -> AbstractContextManager[None]:
        attributes = {
            Attribute.STREAM: message.stream,
            Attribute.SEQUENCE: message.sequence,
            Attribute.DELIVERED: message.deliveries,
            **names_in(message.subject),
        }
        parent = parse_traceparent(message.headers)
        name = f"process {event_of(message.subject)}"
        return self._bus.tracing.span(name, attributes, parent=parent, kind=SpanKind.CONSUMER)

    async def _judge(self, raw: Msg, message: BusMessage) -> tuple[Verdict, RekeyError | None]:
        error = await self._handled(message)
        if error is not None:
            note_code(error.code)
            if error.verdict in {Verdict.REFUSE, Verdict.SET_ASIDE}:
                error = await self._reported(message, error) or error
        verdict = error.verdict if error else Verdict.DONE
        try:
            await self._settle(raw, message.deliveries, verdict)
        except nats.errors.Error as lost:  # the acknowledgement did not arrive: it will be delivered again
            log.warning("acknowledgement: %s", lost)
        return verdict, error

    async def _settle(self, raw: Msg, times: int, verdict: Verdict) -> None:
        match verdict:
            case Verdict.DONE | Verdict.REFUSE:
                await raw.ack_sync(timeout=self._bus.settings.request_timeout_s)
            case Verdict.SET_ASIDE:
                await raw.term()
            case Verdict.RETRY | Verdict.EXIT:
                await raw.nak(delay=DELAYS_S[min(times, len(DELAYS_S)) - 1])

    async def _handled(self, message: BusMessage) -> RekeyError | None:
        """What came of it: None is done. The process's boundary: whatever is not ours becomes a retry with an alarm."""
        try:
            await self._handler(message)
        except FatalError as error:
            self._fail(error)
            return error
        except RekeyError as error:
            log.log(
                logging.DEBUG if error.verdict is Verdict.DONE else logging.WARNING,
                "%s",
                error,
                extra={"event": error.verdict.value, "code": error.code},
            )
            return error
        except (
            Exception
        ):  # what is not ours must not end the consumer: it is an alarm in the log, and a retry
            log.exception("a handler failed", extra={"event": "unexpected"})
            return RekeyError("unexpected")
        return None

    async def _reported(self, message: BusMessage, error: RekeyError) -> RekeyError | None:
        """None when the report is stored; else the error that makes us come back to it."""
        try:
            if error.verdict is Verdict.REFUSE:
                await publish_refusal(self._bus, message, error)
            else:
                await publish_alert(self._bus, message, error)
        except RekeyError as failed:
            log.warning("report: %s", failed)
            return RekeyError("report not stored")
        return None

    async def _keep_alive(self, raw: Msg) -> None:
        while True:
            await asyncio.sleep(self.consumer.ack_wait_s / 3)
            await raw.in_progress()


class Answering:
    """A served core subject and its handler."""

    def __init__(
        self,
        bus: Bus,
        subject: str,
        handler: Callable[[str, bytes], Awaitable[tuple[bytes, dict[str, str]]]],
        alarms: RequestAlarms,
        fail: Callable[[FatalError], None],
        concurrency: int,
        patience_s: float,
    ) -> None:
        self._bus = bus
        self._subject = subject
        self._alarms = alarms
        self._handler = handler
        self._fail = fail
        self._concurrency = concurrency
        self._patience_s = patience_s
        self._turns = asyncio.Semaphore(concurrency)  # of the connections together
        self._waiting = 0

    def bind(self) -> None:
        """Subscribe in the service's queue group.

        An answer goes back over the connection on which the question came: on no other one may we answer it.
        """
        link, most = self._bus.link, self._bus.settings.max_waiting_requests

        async def on_request(msg: NatsMessage) -> None:
            await self._in_turn(msg, link.client)

        subscriber = self._bus.broker.subscriber(
            self._subject,
            queue=self._bus.settings.service.value,
            max_workers=self._concurrency + most + 1,  # one to say no
            pending_msgs_limit=most,
            ack_policy=AckPolicy.MANUAL,  # or FastStream's acknowledgement would be the answer
            no_reply=True,
        )
        subscriber(on_request)

    async def _in_turn(self, msg: NatsMessage, client: Client) -> None:
        """Answer it, but not when its turn comes so late that whoever asked is about to ask again.

        Answers that nobody waits for any more would make the questions behind them late as well, all of them, for ever.
        """
        came = time.monotonic()
        if self._waiting >= self._bus.settings.max_waiting_requests:
            return self._bus.overloaded()
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            if time.monotonic() - came > self._patience_s:
                return self._bus.overloaded()
            return await self._on_request(msg, client)
        finally:
            self._turns.release()

    async def _on_request(self, msg: NatsMessage, client: Client) -> None:
        raw: Msg = msg.raw_message
        core = BusMessage("", raw.subject, own_headers(raw.headers or {}), raw.data, 0, datetime.now(UTC))
        event, began = event_of(raw.subject), time.perf_counter()
        at_work = self._bus.at_work.on(f"request: {raw.subject}")
        with at_work, handling(core) as codes, self._span(core):
            await self._answered(raw, core, client)
        code = codes[-1] if codes else DONE
        self._bus.metrics.request(event, code, time.perf_counter() - began)

    def _span(self, message: BusMessage) -> AbstractContextManager[None]:
        """Only of requests that carry a trace context: what nobody traces is not recorded."""
        attributes, parent = names_in(message.subject), parse_traceparent(message.headers)
        name = f"answer {event_of(message.subject)}"
        return self._bus.tracing.span(name, attributes, parent=parent, kind=SpanKind.SERVER)

    async def _answered(self, raw: Msg, core: BusMessage, client: Client) -> None:
        try:
            data, answer_headers = await self._handler(raw.subject, raw.data)
            if raw.reply:
                await client.publish(raw.reply, data, headers=answer_headers or None)
        except FatalError as error:
            note_code(error.code)
            self._fail(error)
        except (RekeyError, nats.errors.Error) as error:
            note_code(error.code if isinstance(error, RekeyError) else OTHER)
            log.warning("request: %s", error, extra={"event": "unanswered"})
            if isinstance(error, RekeyError) and error.verdict in {Verdict.REFUSE, Verdict.SET_ASIDE}:
                await self._alarm(core, error)
        except (
            Exception
        ):  # one request must not end the answers to all others; who asked gets none and asks again
            note_code(OTHER)
            log.exception("a request failed", extra={"event": "unexpected"})

    async def _alarm(self, core: BusMessage, error: RekeyError) -> None:
        try:
            await self._alarms.say(core, error)
        except RekeyError as failed:
            log.warning("report: %s", failed)
