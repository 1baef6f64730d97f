"""The command line believes an answer only if audit signed it, for this person and this question."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey.cli.context import Context
from rekey.cli.session import open_answer
from rekey_core.contracts import Ask, AskRefused, ListAnswer, ShowAnswer
from rekey_core.envelope import sign
from rekey_core.errors import RekeyError
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from tests.unit.rekey_audit.a_log import ENV, START, Log

NONCE = "0" * 32
ASK = Ask(nonce=NONCE)
HERE = Path("/")
CONTEXT = Context(
    env=ENV, person="alice", bus_url="tls://127.0.0.1:1", tls_cert=HERE, tls_key=HERE, tls_ca=HERE, ssh_key=HERE,
    trust_genesis="0" * 64, state_dir=HERE,
)  # fmt: skip


def an_answer(signer: SigningKey, **changed: object) -> bytes:
    """What audit answers to ``ls``."""
    said = {"env": ENV, "person": "alice", "nonce": NONCE, "as_of": 1, "at": START, "keys": (), **changed}
    return sign(ListAnswer.model_validate(said), signer).model_dump_json().encode()


def test_the_answer_to_this_question_is_believed() -> None:
    log = Log()
    answer = open_answer(an_answer(log.services[Service.AUDIT]), log.trust(), CONTEXT, ASK, ListAnswer)
    assert answer.keys == ()


FALSE = [
    pytest.param({"nonce": "1" * 32}, "replayed", id="an answer to an earlier question"),
    pytest.param({"person": "otto"}, "replayed", id="an answer to somebody else"),
    pytest.param({"env": "prod"}, "replayed", id="an answer of another environment"),
]


@pytest.mark.parametrize(("changed", "code"), FALSE)
def test_another_answer_is_refused(changed: dict[str, object], code: str) -> None:
    log = Log()
    with pytest.raises(RekeyError) as caught:
        open_answer(an_answer(log.services[Service.AUDIT], **changed), log.trust(), CONTEXT, ASK, ListAnswer)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "service", [s for s in Service if s is not Service.AUDIT], ids=lambda s: f"{s} is not audit"
)
def test_an_answer_that_audit_did_not_sign_is_refused(service: Service) -> None:
    log = Log()
    with pytest.raises(RekeyError) as caught:
        open_answer(an_answer(log.services[service]), log.trust(), CONTEXT, ASK, ListAnswer)
    assert caught.value.code == "wrong-author"


def test_bytes_that_are_no_answer_are_refused() -> None:
    with pytest.raises(RekeyError, match="expected a signed message"):
        open_answer(b"{", Log().trust(), CONTEXT, ASK, ListAnswer)


def test_an_answer_of_another_kind_is_refused() -> None:
    log = Log()
    with pytest.raises(RekeyError) as caught:
        open_answer(an_answer(log.services[Service.AUDIT]), log.trust(), CONTEXT, ASK, ShowAnswer)
    assert caught.value.code == "unknown-type"


def test_a_refusal_keeps_audits_code_and_hint() -> None:
    log = Log()
    refused = AskRefused(
        env=ENV,
        person="alice",
        nonce=NONCE,
        as_of=1,
        at=START,
        code="not-in-scope",
        message="no",
        hint="ask its owner",
    )
    data = sign(refused, log.services[Service.AUDIT]).model_dump_json().encode()
    with pytest.raises(RekeyError) as caught:
        open_answer(data, log.trust(), CONTEXT, ASK, ListAnswer)
    assert (caught.value.code, caught.value.hint) == ("not-in-scope", "ask its owner")
