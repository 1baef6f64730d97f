"""The bus as this identity may use it: facts, backups and trust are read; restored versions and attestations are offered."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from rekey_backup.bundle import Bundle, bundle_of
from rekey_backup.settings import BusSettings
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import AttestationOffer, BackedUp, Destroyed, Message, RestoreOffer
from rekey_core.drilled import attestation_id
from rekey_core.envelope import BusMessage, answer_status, direct_message
from rekey_core.errors import StaleReadError, UnavailableError
from rekey_core.trust import Trust

API: Final = "JSC.API"  # how JetStream is imported from the account of the streams (DESIGN §4)
PAGE: Final = 500  # messages per answer
AT_ONCE: Final = 100  # reads by subject that are under way at the same time
REQUEST_S: Final = 5.0
OFFER_S: Final = 20.0  # two writes and some reads, while others wait as well
_END, _NOT_FOUND = "204", "404"
_NOTHING: Final = 404  # in the body of the leader's answer
_WHOLE_TRIES: Final = 10  # of a read from a replica that is behind the leader
_PAUSE_S: Final = 0.5


class BackupBus:
    """Reads complete or not at all: an answer that is cut short is an error, never fewer backups."""

    def __init__(self, client: Client, env: str) -> None:
        self._client = client
        self._subjects = Subjects(env)

    async def bundle(self) -> Bundle:
        """Trust documents, facts, then the backups that the facts speak of: what is younger than the facts is left out.

        Raises:
            UnavailableError: the bus does not answer.
            StaleReadError: an answer was cut short.
        """
        known = await self.facts()
        places = sorted({place for m in known.facts if (place := self._backup_of(m)) is not None})
        backups: list[BusMessage] = []
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            found = await asyncio.gather(*(self._get(Stream.MATERIAL, place) for place in some))
            backups += [m for m in found if m is not None]
        return bundle_of([*known.messages, *backups])

    async def whole_log(self) -> Bundle:
        """Trust documents and facts, none missing that the log had when this was called.

        Raises:
            UnavailableError: the bus does not answer.
            StaleReadError: an answer was cut short, or every replica that answers is behind the leader.
        """
        newest = await self._newest()
        for _ in range(_WHOLE_TRIES):
            found = await self.facts()
            if max((fact.sequence for fact in found.facts), default=0) >= newest:
                return found
            await asyncio.sleep(_PAUSE_S)
        message = f"read of {Stream.LIFECYCLE}: expected facts up to {newest}, and no answer has them"
        raise StaleReadError(message)

    async def facts(self) -> Bundle:
        """Trust documents and facts alone. Raises as ``bundle``."""
        trust = [m async for m in self._trust()]
        return bundle_of([*trust, *[m async for m in self._facts()]])

    async def offer(self, offer: RestoreOffer) -> bytes:
        """The generator's answer to an offer, as it came.

        Raises:
            UnavailableError: it does not answer; whether the version is restored is not known.
        """
        return await self._asked("generator", self._subjects.offer(offer.key, offer.version), offer)

    async def attest(self, offer: AttestationOffer) -> bytes:
        """Audit's answer to an attestation, as it came.

        Raises:
            UnavailableError: it does not answer; whether the drill is recorded is not known.
        """
        return await self._asked("audit", self._subjects.attestation(attestation_id(offer.signed)), offer)

    async def trust(self, genesis: str) -> Trust:
        """Who is who now. Raises as ``facts``, and TrustError when the documents do not chain to the genesis."""
        return bundle_of([m async for m in self._trust()]).verified_trust(genesis, self._subjects.env)

    async def _asked(self, who: str, subject: str, offer: Message) -> bytes:
        try:
            answer = await self._client.request(subject, offer.model_dump_json().encode(), timeout=OFFER_S)
        except NatsError as error:
            message = f"the {who} does not answer on {subject}: {str(error) or 'no answer'}"
            raise UnavailableError(message, hint="is it ready? give the same file again") from error
        return answer.data

    def _backup_of(self, fact: BusMessage) -> str | None:
        tokens = fact.subject.split(".")
        if tokens[-2] not in {BackedUp.EVENT, Destroyed.EVENT}:
            return None
        try:
            return self._subjects.backup(tokens[2], int(tokens[3]))
        except ValueError:  # names no version; the fold finds it void
            return None

    async def _trust(self) -> AsyncIterator[BusMessage]:
        n = 1
        while (found := await self._get(Stream.TRUST, self._subjects.trust(n))) is not None:
            yield found
            n += 1

    async def _facts(self) -> AsyncIterator[BusMessage]:
        start = 1
        while True:
            question = {"seq": start, "batch": PAGE, "next_by_subj": f"evt.{self._subjects.env}.>"}
            page = await self._page(Stream.LIFECYCLE, question)
            for message in page:
                yield message
            if len(page) < PAGE:
                return
            start = page[-1].sequence + 1

    async def _newest(self) -> int:
        """The sequence of the newest fact, as the leader of the stream has it; 0 when there is none."""
        question = json.dumps({"last_by_subj": f"evt.{self._subjects.env}.>"}).encode()
        try:
            answer = await self._client.request(
                f"{API}.STREAM.MSG.GET.{Stream.LIFECYCLE}", question, timeout=REQUEST_S
            )
            found = json.loads(answer.data)
        except (NatsError, ValueError) as error:
            message = f"read of {Stream.LIFECYCLE}: {str(error) or 'no answer'}"
            raise UnavailableError(message) from error
        if "message" in found:
            return int(found["message"]["seq"])
        if found.get("error", {}).get("code") == _NOTHING:
            return 0
        message = f"read of {Stream.LIFECYCLE}: expected the newest fact, found {found.get('error')}"
        raise UnavailableError(message)

    async def _page(self, stream: Stream, question: dict[str, object]) -> list[BusMessage]:
        found: list[BusMessage] = []
        try:
            async with self._answers(f"{API}.DIRECT.GET.{stream}", json.dumps(question).encode()) as answers:
                while (state := _status(answer := await answers.next_msg(REQUEST_S))) is None:
                    found.append(direct_message(answer.headers or {}, answer.data, stream))
        except NatsError as error:
            message = f"read of {stream}: {str(error) or 'no end of the answer'}"
            raise StaleReadError(message) from error
        if state not in (_END, _NOT_FOUND):
            message = f"read of {stream}: status {state}, expected the end"
            raise StaleReadError(message)
        return found

    async def _get(self, stream: Stream, subject: str) -> BusMessage | None:
        try:
            async with self._answers(f"{API}.DIRECT.GET.{stream}.{subject}", b"") as answers:
                answer = await answers.next_msg(REQUEST_S)
        except NatsError as error:
            message = f"read of {subject}: {str(error) or 'no answer'}"
            raise UnavailableError(message) from error
        state = _status(answer)
        if state not in (None, _NOT_FOUND):
            message = f"read of {subject}: status {state}"
            raise UnavailableError(message)
        return direct_message(answer.headers or {}, answer.data, stream) if state is None else None

    @asynccontextmanager
    async def _answers(self, subject: str, question: bytes) -> AsyncIterator[Subscription]:
        """What comes to an inbox of its own: the client's request makes "nobody is there" of a message with status 503."""
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        try:
            await self._client.publish(subject, question, reply=inbox)
            yield answers
        finally:
            await answers.unsubscribe()


def _status(message: Msg) -> str | None:
    return answer_status(message.headers or {})


@asynccontextmanager
async def backup_bus(settings: BusSettings) -> AsyncIterator[BackupBus]:
    """Connect with the certificate of this identity.

    Raises:
        UnavailableError: the bus cannot be reached or does not let this identity in.
    """
    context = ssl.create_default_context(cafile=str(settings.tls_ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    try:
        client = await nats.connect(
            settings.bus_url,
            tls=context,
            tls_hostname=settings.server_name,
            inbox_prefix=b"_INBOX_backup",
            allow_reconnect=False,
            connect_timeout=REQUEST_S,
        )
    except (OSError, NatsError) as error:
        message = f"cannot connect to {settings.bus_url}: {error}"
        raise UnavailableError(message, hint="is the bus running?") from error
    try:
        yield BackupBus(client, settings.env)
    finally:
        await client.close()
