"""What crosses from the bus to the offline token: messages as they are stored, one JSON object per line.

Nothing in it is believed for having been written there: every message carries its author's signature, and the trust
documents chain from a genesis that the offline side has pinned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rekey_backup.lines import read_lines
from rekey_core.contracts import SignedTrust
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import BusMessage
from rekey_core.errors import TrustError
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


def write(path: Path, bundle: Bundle) -> None:
    """Write the file; an old one is replaced."""
    path.write_text("".join(_line(message) + "\n" for message in bundle.messages))


def read(path: Path) -> Bundle:
    """Read the file. Raises as ``read_lines``."""
    return bundle_of(_message(line) for line in read_lines(path, Line, "a message"))


def bundle_of(messages: Iterable[BusMessage]) -> Bundle:
    """The messages by what their subjects say."""
    kinds: dict[str, list[BusMessage]] = {"trust": [], "evt": [], "bak": []}
    for message in messages:
        kinds.setdefault(message.subject.partition(".")[0], []).append(message)
    return Bundle(*(tuple(kinds[kind]) for kind in ("trust", "evt", "bak")))


def _line(message: BusMessage) -> str:
    return Line(
        stream=message.stream,
        subject=message.subject,
        headers=dict(message.headers),
        data=b64u_encode(message.data),
        sequence=message.sequence,
        stored_at=message.stored_at,
    ).model_dump_json()


def _message(line: Line) -> BusMessage:
    return BusMessage(
        line.stream, line.subject, line.headers, b64u_decode(line.data), line.sequence, line.stored_at
    )


def _trust_document(message: BusMessage) -> SignedTrust:
    try:
        return SignedTrust.model_validate_json(message.data)
    except ValidationError as error:
        text = f"{message.subject} is not a signed trust document"
        raise TrustError(text) from error
