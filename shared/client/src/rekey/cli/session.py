"""A person on the bus: publishes signed commands, asks audit, believes only what audit signed for this question."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from rekey.cli.context import Context
from rekey.cli.errors import AnsweredError
from rekey.connection import Connection
from rekey.credentials import Login
from rekey.spans import new_trace, written_to
from rekey.trust_cache import Seen, TrustCache
from rekey_core.authority import Stream, Subjects
from rekey_core.commands import command_id
from rekey_core.contracts import Ask, AskAnswer, AskRefused, Command, Signed, SignedCommand
from rekey_core.envelope import open_signed, read_signed
from rekey_core.errors import ReplayedError, SchemaError, TrustError, UnavailableError, UnknownOutcomeError
from rekey_core.names import Service
from rekey_core.tracecontext import Attribute, Attributes
from rekey_core.trust import Trust

CONNECT_S: Final = 3.0  # a server that is restarting comes back within it
ASK_S: Final = 2.0  # one try
ASK_TRIES: Final = 3
PUBLISH_S: Final = 3.0  # one try
PUBLISH_TRIES: Final = 3
PAUSE_S: Final = 0.5  # between tries: the other side may be starting
_STORED: Final = (
    "maximum messages per subject exceeded"  # the server's words for: this command is there already
)

A = TypeVar("A", bound=AskAnswer)


@dataclass(frozen=True)
class Accepted:
    """A command that the log has. ``sequence`` is none when an earlier try had stored it; ``trace`` is its trace's id."""

    command: str
    subject: str
    sequence: int | None
    trace: str


@dataclass(frozen=True)
class Session:
    """One person, one connection."""

    context: Context
    connection: Connection
    trust: TrustCache

    async def publish(self, command: Command, signed: SignedCommand) -> Accepted:
        """Store the command; trying again is safe, since its subject comes from its bytes and is written once.

        Raises:
            UnavailableError: the log does not take it; nothing was stored.
            UnknownOutcomeError: no answer: it may be stored or not.
        """
        identity = command_id(signed)
        subject = Subjects(self.context.env).command(command.VERB, command.key, identity)
        data = signed.model_dump_json().encode()
        names: Attributes = {Attribute.KEY: command.key, Attribute.PERSON: self.context.person}
        with new_trace(f"command {command.VERB}", names) as trace:
            sequence = await self._store(subject, data, identity)
        return Accepted(identity, subject, sequence, trace.trace_id)

    async def _store(self, subject: str, data: bytes, identity: str) -> int | None:
        for _ in range(PUBLISH_TRIES):
            try:
                return await self.connection.append(Stream.COMMANDS, subject, data, {}, PUBLISH_S)
            except UnknownOutcomeError:
                continue
            except UnavailableError as error:
                if _STORED not in str(error):
                    raise
                return None
        text = f"{subject}: the bus did not confirm that it stored the command"
        raise UnknownOutcomeError(text, hint=f"rekey command {identity} says whether it did")

    async def ask(
        self,
        kind: type[A],
        key: str | None = None,
        *,
        version: int | None = None,
        command: str | None = None,
        epoch: int | None = None,
        tries: int = ASK_TRIES,
    ) -> A:
        """Audit's answer of this kind.

        Raises:
            AnsweredError: audit refuses to answer.
            UnavailableError: audit does not answer.
            MalformedError: what answered is not audit, or answers another question.
        """
        question = Ask(nonce=secrets.token_hex(16), key=key, version=version, command=command, epoch=epoch)
        subject = Subjects(self.context.env).ask(self.context.person, kind.VERB)
        data = await self._answer(subject, question.model_dump_json().encode(), tries)
        return await self.trust.fresh(lambda trust: open_answer(data, trust, self.context, question, kind))

    async def _answer(self, subject: str, question: bytes, tries: int) -> bytes:
        for left in reversed(range(tries)):
            try:
                data, _ = await self.connection.request(subject, question, ASK_S)
            except UnavailableError:
                await asyncio.sleep(PAUSE_S if left else 0)
            else:
                return data
        text = f"audit of {self.context.env} does not answer"
        raise UnavailableError(
            text, hint="check that the audit service runs and is ready; the log itself may be up"
        )


def open_answer(data: bytes, trust: Trust, context: Context, question: Ask, kind: type[A]) -> A:
    """Exactly this answer, if audit signed it for this person and question.

    Raises:
        AnsweredError: it is a refusal.
        MalformedError: it is something else, or somebody else's.
    """
    where = f"answer to {kind.VERB}"
    models: tuple[type[AskAnswer], ...] = (kind, AskRefused)
    signed = read_signed(data, Signed, where=where)
    answer = open_signed(signed, models, trust.service_keys(Service.AUDIT), where=where)
    if (answer.env, answer.person, answer.nonce) != (context.env, context.person, question.nonce):
        text = f"{where}: made for another question, person or environment"
        raise ReplayedError(text)
    if isinstance(answer, AskRefused):
        raise AnsweredError(answer.code, answer.message, hint=answer.hint)
    if not isinstance(answer, kind):
        text = f"{where}: found {answer.type}"
        raise SchemaError(text)
    return answer


@asynccontextmanager
async def connected(context: Context) -> AsyncIterator[Session]:
    """A session; trust is verified from the pinned genesis before anything else is believed.

    Raises:
        UnavailableError: the bus does not answer.
        ConfigurationError: the certificate or its key cannot be used, or ``state_dir`` does not take what was seen.
        TrustError: the trust documents do not chain to the genesis, or are older than seen before.
    """
    login = Login(
        context.bus_url,
        context.server_name,
        context.tls_cert,
        context.tls_key,
        context.tls_ca,
        context.person,
    )
    connection = Connection(login)
    await connection.open(CONNECT_S)
    try:
        seen = Seen.load(context.state_dir)
        trust = TrustCache(connection, context.env, context.trust_genesis, seen, PUBLISH_S)
        await _read_trust(trust, context)
        with written_to(context.trace_file, "rekey"):
            yield Session(context, connection, trust)
    finally:
        await connection.close()


async def _read_trust(trust: TrustCache, context: Context) -> None:
    """Raises as ``TrustCache.refresh``, with what to look at in the context."""
    try:
        await trust.refresh()
    except UnavailableError as error:
        text = f"no answer about trust documents of {context.env} to {context.person}: {error}"
        hint = "env and person in the context must be those of tls_cert; if they are, try again: the bus may be starting"
        raise UnavailableError(text, hint=hint) from error
    except TrustError as error:
        hint = "take trust_genesis from whoever runs the environment, by another way; if it is right, leave this bus"
        raise TrustError(str(error), hint=error.hint or hint) from error
