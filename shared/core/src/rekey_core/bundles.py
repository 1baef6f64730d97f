"""Stored messages in a file: what crosses from the bus to people who have a token and no bus. Pure.

One JSON object per line. Nothing in it is believed for having been written there: every message carries its author's
signature, and the trust documents chain from a genesis that the side without a bus has pinned. What is left out at its end
cannot be seen in it; a log that is to be complete as of some moment ends with a line that could not be written before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from rekey_core.contracts import SignedTrust
from rekey_core.contracts.base import Nonce
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import BusMessage, unpack_or_void
from rekey_core.errors import TrustError
from rekey_core.fold import KeyState, fold
from rekey_core.readers import key_in, keys_in, open_fact
from rekey_core.trust import Trust


class Line(BaseModel):
    """One message and where it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: str
    subject: str
    headers: dict[str, str]
    data: str
    sequence: int
    stored_at: datetime


class End(BaseModel):
    """The last line of a complete log: how many messages came before it, and the word that it was asked for with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: int
    challenge: Nonce


@dataclass(frozen=True)
class Bundle:
    """Messages in the order in which they were stored, by kind."""

    trust: tuple[BusMessage, ...]
    facts: tuple[BusMessage, ...]
    backups: tuple[BusMessage, ...]

    @property
    def messages(self) -> tuple[BusMessage, ...]:
        """All of them."""
        return (*self.trust, *self.facts, *self.backups)

    def verified_trust(self, genesis: str, env: str) -> Trust:
        """The newest trust document of the chain.

        Raises:
            TrustError: no document, or they do not chain from the genesis.
        """
        documents = [(_trust_document(m), m.stored_at) for m in self.trust]
        if not documents:
            message = "the bundle holds no trust document"
            raise TrustError(message)
        trust = Trust.from_chain([documents[0][0]], genesis=genesis, env=env)
        for signed, since in documents[1:]:
            trust = trust.extended(signed, since=since)
        return trust

    def states(self, trust: Trust) -> Iterator[KeyState]:
        """Every key that a fact names, folded, by name. Subjects that name no key are left out; audit alarms about them."""
        by_key: dict[str, list[BusMessage]] = defaultdict(list)
        for message in self.facts:
            for _ in keys_in([message]):
                by_key[key_in(message.subject)].append(message)
        for key, messages in sorted(by_key.items()):
            items = [unpack_or_void(m, lambda found: open_fact(found, trust)) for m in messages]
            yield fold(trust.env, key, items, trust)


def bundle_of(messages: Iterable[BusMessage]) -> Bundle:
    """The messages by what their subjects say."""
    kinds: dict[str, list[BusMessage]] = {"trust": [], "evt": [], "bak": []}
    for message in messages:
        kinds.setdefault(message.subject.partition(".")[0], []).append(message)
    return Bundle(*(tuple(kinds[kind]) for kind in ("trust", "evt", "bak")))


def line_of(message: BusMessage) -> Line:
    """A message as a line."""
    return Line(
        stream=message.stream,
        subject=message.subject,
        headers=dict(message.headers),
        data=b64u_encode(message.data),
        sequence=message.sequence,
        stored_at=message.stored_at,
    )


def message_of(line: Line) -> BusMessage:
    """The inverse. Raises SchemaError when its data is not base64url."""
    return BusMessage(
        line.stream, line.subject, line.headers, b64u_decode(line.data), line.sequence, line.stored_at
    )


def _trust_document(message: BusMessage) -> SignedTrust:
    try:
        return SignedTrust.model_validate_json(message.data)
    except ValidationError:
        text = f"{message.subject} is not a signed trust document"
        raise TrustError(text) from None
