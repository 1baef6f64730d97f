"""Enrolment's bus: trust documents, read one by one and appended write-once; it may do nothing else."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import SignedTrust
from rekey_core.envelope import answer_status
from rekey_core.errors import ConflictError, SchemaError, UnavailableError, UnknownOutcomeError
from rekey_core.trust import Trust
from rekey_enrolment.settings import EnrolmentSettings

API_PREFIX: Final = "JSC.API"  # how JetStream is imported from the account of the streams (DESIGN §4)
REQUEST_S: Final = 5.0
_NOT_FOUND: Final = "404"
_WRONG_LAST_SEQUENCE: Final = 10071


class TrustBus:
    """The stream of trust documents, as enrolment may use it."""

    def __init__(self, client: Client, settings: EnrolmentSettings) -> None:
        self._client = client
        self._settings = settings
        self._subjects = Subjects(settings.env)

    async def trust(self) -> Trust:
        """The chain from the pinned genesis to the present document.

        Raises:
            UnavailableError: the bus does not answer.
            TrustError: the documents do not chain.
        """
        chain: list[SignedTrust] = []
        while (found := await self._document(len(chain) + 1)) is not None:
            chain.append(found)
        return Trust.from_chain(chain, genesis=self._settings.trust_genesis, env=self._settings.env)

    async def append(self, n: int, signed: SignedTrust) -> None:
        """Store version n, unless there is one.

        Raises:
            ConflictError: somebody stored a version n before.
            UnknownOutcomeError: the bus did not confirm; run again, it reads first.
        """
        stream = self._client.jetstream(timeout=REQUEST_S)
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        data = signed.model_dump_json().encode()
        try:
            await stream.publish(self._subjects.trust(n), data, stream=Stream.TRUST.value, headers=headers)
        except APIError as error:
            message = f"trust document {n} was not stored: {error.description}"
            raise (ConflictError if error.err_code == _WRONG_LAST_SEQUENCE else UnknownOutcomeError)(
                message
            ) from error
        except NatsError as error:
            message = f"trust document {n}: the bus did not confirm within {REQUEST_S:.0f} s"
            raise UnknownOutcomeError(message) from error

    async def _document(self, n: int) -> SignedTrust | None:
        subject = f"{API_PREFIX}.DIRECT.GET.{Stream.TRUST.value}.{self._subjects.trust(n)}"
        inbox = (
            self._client.new_inbox()
        )  # the client's request makes "nobody is there" of a document with status 503
        try:
            answers = await self._client.subscribe(inbox)
            try:
                await self._client.publish(subject, b"", reply=inbox)
                answer = await answers.next_msg(REQUEST_S)
            finally:
                await answers.unsubscribe()
        except NatsError as error:
            message = f"the bus does not answer for trust document {n}"
            raise UnavailableError(
                message, hint="is the bus running, and may this identity read it?"
            ) from error
        status = answer_status(answer.headers or {})
        if status == _NOT_FOUND:
            return None
        if status is not None:
            message = f"trust document {n}: the bus answered with status {status}"
            raise UnavailableError(message)
        return _parsed(answer.data, n)


def _parsed(data: bytes, n: int) -> SignedTrust:
    try:
        return SignedTrust.model_validate_json(data)
    except ValueError:
        message = f"trust document {n} is not a signed trust document"
        raise SchemaError(message) from None


@asynccontextmanager
async def trust_bus(settings: EnrolmentSettings) -> AsyncIterator[TrustBus]:
    """Connect with the certificate of enrolment.

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
            inbox_prefix=b"_INBOX_enrolment",
            allow_reconnect=False,
            connect_timeout=REQUEST_S,
        )
    except (OSError, NatsError) as error:
        message = f"cannot connect to {settings.bus_url}: {error}"
        raise UnavailableError(message, hint="is the bus running?") from error
    try:
        yield TrustBus(client, settings)
    finally:
        await client.close()
