"""JetStream's requests and answers as bytes: what comes back becomes a ``BusMessage`` or an error of ours.

No exception of the NATS client leaves this package (HOUSE §2.21). Error codes: nats-server 2.15 ``errors.json``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.aio.msg import Msg

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage, answer_status, direct_message, own_headers, timestamp
from rekey_core.errors import (
    ConfigurationError,
    ConflictError,
    OversizedError,
    RekeyError,
    StaleReadError,
    UnavailableError,
    UnknownOutcomeError,
)

API: Final = (
    "JSC.API"  # services import JetStream's API under this prefix (notes: unmapped imports answer 503)
)

WRONG_LAST_SEQUENCE: Final = (10071, 10164)
STORE_FAILED: Final = 10077
TOO_LARGE: Final = 10054
NOT_EXPECTED_STREAM: Final = 10060
NO_MESSAGE: Final = 10037
BATCH_NOT_STORED: Final = (10176, 10210)  # its begin or middle is missing; too many are open

END: Final = "204"
NOT_FOUND: Final = "404"
BAD_REQUEST: Final = "408"
TOO_MANY: Final = "413"
NO_RESPONDERS: Final = "503"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TooManySubjectsError(StaleReadError):
    """More subjects match than one answer may hold (413): page instead."""


def acknowledged(answer: bytes, *, where: str) -> int:
    """The sequence in a PubAck.

    Raises:
        ConflictError: the expected sequence is not the last one, or the subject is taken and write-once.
        UnavailableError: the stream is full, or the batch that it ends is not there any more.
        OversizedError: the message is larger than the stream takes.
        ConfigurationError: the subject belongs to another stream.
        UnknownOutcomeError: anything else, and answers that are none.
    """
    try:
        body = json.loads(answer)
        if "error" not in body:
            return int(body["seq"])
        error = body["error"]
        raise refusal(int(error.get("err_code", 0)), str(error.get("description", "")), where=where)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownOutcomeError(
            f"{where}: the bus answered something else than an acknowledgement"
        ) from error


def refusal(code: int, description: str, *, where: str) -> RekeyError:
    """What a refused write means."""
    text = f"{where}: {description[:200]} ({code})"
    if code in WRONG_LAST_SEQUENCE:
        return ConflictError(text)
    if code == STORE_FAILED:
        return ConflictError(text) if "per subject" in description else UnavailableError(text)
    if code in BATCH_NOT_STORED:
        return UnavailableError(text)
    if code == TOO_LARGE:
        return OversizedError(text)
    if code == NOT_EXPECTED_STREAM:
        return ConfigurationError(text)
    return UnknownOutcomeError(text)


def direct(stream: Stream, message: Msg) -> BusMessage:
    """A message as DIRECT.GET of a stream answers it: its own headers, and where it stands in headers of the server.

    Raises:
        StaleReadError: a header that says where it stands is missing.
    """
    return direct_message(message.headers or {}, message.data, stream)


def status(message: Msg) -> str | None:
    """The status of an answer without a message, such as 204, 404 or 413."""
    return answer_status(message.headers or {})


def found(stream: Stream, answer: Msg, where: str) -> BusMessage | None:
    """What one question of DIRECT.GET found in a stream; None when there is nothing.

    Raises:
        UnavailableError: any other status.
    """
    state = status(answer)
    if state == NOT_FOUND:
        return None
    if state is not None:
        raise UnavailableError(f"read of {where}: status {state}")
    return direct(stream, answer)


def complete(stream: str, end: Msg, messages: list[BusMessage], *, paged: bool) -> list[BusMessage]:
    """The messages of a DIRECT.GET answer, if its end says that there are no others. ``paged``: others may follow.

    Raises:
        TooManySubjectsError: more subjects match than one answer may hold.
        UnavailableError: nobody answers.
        StaleReadError: the answer was cut short.
    """
    state = status(end)
    if state == NOT_FOUND and not messages:
        return []
    if state == TOO_MANY:
        raise TooManySubjectsError(f"read of {stream}: more subjects than one answer may hold")
    if state == NO_RESPONDERS:
        raise UnavailableError(f"read of {stream}: nobody answers")
    pending = (end.headers or {}).get("Nats-Num-Pending", "0")
    if state != END or (not paged and pending != "0"):
        raise StaleReadError(f"read of {stream}: status {state}, {pending} pending, expected the end")
    return messages


def conditions(stream: str, expected_last: int | None, check_subject: str | None) -> dict[str, str]:
    """Headers under which a message is stored: in this stream, and after that sequence of its check subject."""
    headers = {"Nats-Expected-Stream": str(stream)}
    if expected_last is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
    if check_subject is not None:
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = check_subject
    return headers


def leader_answer(stream: str, answer: bytes) -> BusMessage | None:
    """A message as STREAM.MSG.GET answers it; None when there is none.

    Raises:
        UnavailableError: the server refused or answered something else.
    """
    try:
        body = json.loads(answer)
        error = body.get("error")
        if error:
            if error.get("err_code") == NO_MESSAGE:
                return None
            raise UnavailableError(f"read of {stream}: {str(error.get('description'))[:200]}")
        return _message(stream, body["message"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(f"read of {stream}: the bus answered something else than a message") from error


def _message(stream: str, found: Mapping[str, Any]) -> BusMessage:
    return BusMessage(
        stream,
        str(found["subject"]),
        own_headers(_parsed(base64.b64decode(found.get("hdrs") or ""))),
        base64.b64decode(found.get("data") or ""),
        int(found["seq"]),
        timestamp(str(found["time"])),
    )


def delivered(message: Msg) -> BusMessage:
    """A message as a consumer got it, with how often it was delivered.

    Its place is in the reply subject, which only the server makes: ``$JS.ACK.<stream>.<consumer>.<delivered>.
    <stream seq>.<consumer seq>.<time in ns>.<pending>``, with domain and account hash before the stream in the
    longer form. The client's own parse rounds the time through a float; the log's time must be exact.
    """
    tokens = message.reply.split(".")
    at = 2 if len(tokens) == 9 else 4  # noqa: PLR2004 - nats-server ADR-15: 9 tokens, or 11 and more
    stream, _, times, sequence, _, nanoseconds = tokens[at : at + 6]
    stored_at = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
    headers = own_headers(message.headers or {})
    return BusMessage(stream, message.subject, headers, message.data, int(sequence), stored_at, int(times))


def _parsed(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")[1:]  # as the client reads them elsewhere
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
