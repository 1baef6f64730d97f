"""Whoever asks in a protocol that is not spoken here is told so, whatever else of the request has changed."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from rekey_core.authority import Subjects
from rekey_core.contracts import OLDEST_PROTOCOL, PROTOCOL, ProbeRequest, Signed
from rekey_core.encoding import b64u_encode
from rekey_core.errors import (
    ProtocolTooNewError,
    ProtocolTooOldError,
    RekeyError,
    ReplayedError,
    SchemaError,
    SignatureError,
    UnknownTypeError,
)
from rekey_core.readers import endorse, open_asked, open_request, read_request
from rekey_core.signing import SigningKey
from tests.unit.world import ENV, NOW, World

WORLD: Final = World()
KEY: Final = SigningKey.generate()
SUBJECT: Final = Subjects(ENV).request("orders", KEY.key_id, "probe")


def asked(
    *,
    left_out: str | None = None,
    message_type: str = ProbeRequest.TYPE,
    by: SigningKey = KEY,
    **changes: Any,
) -> bytes:
    """A request for a probe, signed as it is, with changes."""
    request = ProbeRequest(
        env=ENV,
        dependent="orders",
        instance=KEY.key_id,
        endorsement=endorse("orders", ENV, KEY.public_raw, WORLD.dependents["orders"], at=NOW),
        nonce="0" * 32,
        sent_at=NOW,
        key="orders-db",
        version=1,
        phase="installed",
    )
    body = {**json.loads(request.model_dump_json()), **changes}
    payload = json.dumps({name: value for name, value in body.items() if name != left_out}).encode()
    signature = b64u_encode(by.sign(message_type, payload))
    signed = Signed(type=message_type, payload=b64u_encode(payload), key_id=by.key_id, signature=signature)
    return signed.model_dump_json().encode()


@pytest.mark.parametrize(
    "protocol",
    [pytest.param(PROTOCOL, id="the present one"), pytest.param(OLDEST_PROTOCOL, id="the one before")],
)
def test_two_protocols_are_spoken(protocol: int) -> None:
    request = open_request(SUBJECT, asked(protocol=protocol), WORLD.trust)
    assert (request.protocol, request.OP) == (protocol, "probe")
    assert PROTOCOL - OLDEST_PROTOCOL == 1


REFUSED = [
    pytest.param({"protocol": OLDEST_PROTOCOL - 1}, ProtocolTooOldError, id="two behind"),
    pytest.param({"protocol": 0, "color": "blue"}, ProtocolTooOldError, id="two behind, with a field of its own"),
    pytest.param({"protocol": PROTOCOL + 1}, ProtocolTooNewError, id="one ahead"),
    pytest.param({"protocol": PROTOCOL + 9, "more": [1]}, ProtocolTooNewError, id="far ahead, with a field of its own"),
    pytest.param(
        {"protocol": PROTOCOL + 1, "message_type": "rekey.request.dance.v1"},
        ProtocolTooNewError,
        id="one ahead, for something unheard of",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "error"), REFUSED)
def test_other_protocols_are_refused_by_name(changes: dict[str, Any], error: type[RekeyError]) -> None:
    found = open_asked(SUBJECT, asked(**changes), WORLD.trust)
    assert (found.head.dependent, found.head.nonce) == ("orders", "0" * 32), "so that it can be answered"
    words = f"orders speaks protocol {changes['protocol']}, expected {OLDEST_PROTOCOL} or {PROTOCOL}"
    with pytest.raises(error, match=words) as refused:
        read_request(found)
    assert refused.value.hint


MALFORMED = [
    pytest.param({"left_out": "protocol"}, SUBJECT, SchemaError, id="no protocol"),
    pytest.param({"protocol": -1}, SUBJECT, SchemaError, id="a protocol that cannot be"),
    pytest.param({"protocol": "two"}, SUBJECT, SchemaError, id="a protocol that is no number"),
    pytest.param({"left_out": "nonce", "protocol": 0}, SUBJECT, SchemaError, id="an old one without a nonce"),
    pytest.param({"color": "blue"}, SUBJECT, SchemaError, id="the present one with a field of its own"),
    pytest.param({"message_type": "rekey.request.dance.v1"}, SUBJECT, UnknownTypeError, id="a type unheard of"),
    pytest.param({"protocol": 0}, SUBJECT.replace("orders", "billing"), ReplayedError, id="an old one of somebody else"),
    pytest.param({}, SUBJECT.replace("probe", "sign"), ReplayedError, id="the present one where another belongs"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "subject", "error"), MALFORMED)
def test_what_is_no_request_gets_no_answer(
    changes: dict[str, Any], subject: str, error: type[RekeyError]
) -> None:
    with pytest.raises(error):
        open_request(subject, asked(**changes), WORLD.trust)


def test_the_protocol_is_under_the_signature() -> None:
    signed = Signed.model_validate_json(asked(protocol=PROTOCOL + 1))
    present = Signed.model_validate_json(asked())
    altered = signed.model_copy(update={"payload": present.payload})
    with pytest.raises(SignatureError):
        open_asked(SUBJECT, altered.model_dump_json().encode(), WORLD.trust)


def test_an_old_request_is_answered_to_nobody_but_its_sender() -> None:
    with pytest.raises(RekeyError, match="not the author"):
        open_asked(SUBJECT, asked(protocol=0, by=SigningKey.generate()), WORLD.trust)
