"""What JetStream answers, as bytes: every refusal has its error, every time is exact."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from rekey_core.envelope import timestamp
from rekey_core.errors import (
    ConfigurationError,
    ConflictError,
    OversizedError,
    RekeyError,
    UnavailableError,
    UnknownOutcomeError,
)
from rekey_runtime import wire


@pytest.mark.parametrize(
    ("code", "description", "error"),
    [
        pytest.param(10071, "wrong last sequence: 3", ConflictError, id="another sequence is last"),
        pytest.param(10164, "wrong last sequence", ConflictError, id="another append is under way"),
        pytest.param(
            10077, "maximum messages per subject exceeded", ConflictError, id="the subject is taken"
        ),
        pytest.param(10077, "maximum bytes exceeded", UnavailableError, id="the stream is full"),
        pytest.param(10054, "message size exceeds maximum", OversizedError, id="the message is too large"),
        pytest.param(10060, "expected stream does not match", ConfigurationError, id="it is another stream"),
        pytest.param(10008, "temporarily unavailable", UnknownOutcomeError, id="anything else is not known"),
    ],
)
def test_a_refused_write_says_what_is_known(code: int, description: str, error: type[RekeyError]) -> None:
    answer = json.dumps({"error": {"code": 400, "err_code": code, "description": description}}).encode()
    with pytest.raises(error, match=str(code)):
        wire.acknowledged(answer, where="evt.dev.k.0.x")


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b"{}", b'{"seq": "x"}', b"not json"])
def test_an_answer_that_is_none_leaves_the_outcome_unknown(answer: bytes) -> None:
    with pytest.raises(UnknownOutcomeError):
        wire.acknowledged(answer, where="evt.dev.k.0.x")


def test_an_acknowledgement_is_its_sequence() -> None:
    assert wire.acknowledged(b'{"stream": "LIFECYCLE", "seq": 7}', where="x") == 7


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        pytest.param("2026-11-24T03:58:34Z", 0, id="no fraction"),
        pytest.param("2026-11-24T03:58:34.5Z", 500_000, id="one digit"),
        pytest.param("2026-11-24T03:58:34.000001999Z", 1, id="nine digits are cut, not rounded"),
        pytest.param("2026-11-24T03:58:34.999999999Z", 999_999, id="the last nanosecond stays in its second"),
    ],
)
def test_a_time_is_cut_to_microseconds(text: str, micro: int) -> None:
    assert timestamp(text) == datetime(2026, 11, 24, 3, 58, 34, micro, tzinfo=UTC)


def test_nothing_there_is_none_and_a_refused_read_is_not() -> None:
    assert wire.leader_answer("S", b'{"error": {"err_code": 10037, "code": 404}}') is None
    with pytest.raises(UnavailableError):
        wire.leader_answer("S", b'{"error": {"err_code": 10059, "description": "stream not found"}}')
    with pytest.raises(UnavailableError):
        wire.leader_answer("S", b"{}")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n", id="that are no text"),
        pytest.param(b"NATS/1.0\r\nX: abc", id="without an end"),
        pytest.param(b"garbage", id="that are none"),
        pytest.param(b"NATS/1.0\r\nStatus: 404\r\n\r\n", id="with a status"),
    ],
)
def test_the_leader_answers_a_message_whatever_its_author_wrote_into_its_headers(headers: bytes) -> None:
    said = {"subject": "cmd.suspend.dev.k.0", "seq": 7, "time": "2026-11-24T03:58:34Z"}
    answer = json.dumps({"message": {**said, "hdrs": base64.b64encode(headers).decode()}}).encode()
    found = wire.leader_answer("COMMANDS", answer)
    assert found is not None
    assert (found.subject, found.sequence) == ("cmd.suspend.dev.k.0", 7)
