"""What is asked is answered once, by who asked it, now, and with a lease where it uses the HSM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from rekey_core.contracts import (
    MAX_REQUEST_AGE_S,
    DecryptRequest,
    LeaseAnswer,
    MaterialRequest,
    RefusalAnswer,
    Request,
    SignatureAnswer,
    SignRequest,
)
from rekey_core.encoding import b64u_encode
from rekey_core.errors import WrongAuthorError
from rekey_core.readers import open_answer
from rekey_core.sealing import SealingKey
from rekey_core.signing import SigningKey
from rekey_distributor.requests import SEALED_HEADER
from tests.fakes.scene import KEY, Asker
from tests.unit.rekey_distributor.desk import Desk
from tests.unit.world import NOW

MESSAGE = b64u_encode(b"eyJhbGciOiJFUzI1NiJ9.e30")


async def answered(desk: Desk, asker: Asker, request: Request) -> object:
    await desk.clock.ask()
    data, headers = await desk.requests.on_request(*asker.bytes_of(request))
    if SEALED_HEADER in headers:
        return None
    return open_answer(data, desk.scene.trust, request, (SignatureAnswer, LeaseAnswer))


async def refused(desk: Desk, asker: Asker, request: Request) -> str:
    answer = await answered(desk, asker, request)
    assert isinstance(answer, RefusalAnswer)
    return answer.code


async def test_a_request_is_answered_once(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    request = asker.material(1)
    assert await answered(desk, asker, request) is None, "sealed, so given"
    assert await refused(desk, asker, request) == "replayed"
    other = asker.material(1, nonce=request.nonce)
    assert await refused(desk, asker, other) == "replayed"
    assert await answered(desk, asker, asker.material(1)) is None


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(-MAX_REQUEST_AGE_S - 10, id="one of some time ago"),
        pytest.param(MAX_REQUEST_AGE_S + 10, id="one from the future"),
    ],
)
async def test_a_request_is_of_now(desk: Desk, seconds: int) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    sent_at = datetime.now(UTC) + timedelta(seconds=seconds)
    assert await refused(desk, asker, asker.material(1, sent_at=sent_at)) == "expired"
    assert desk.delivered() == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param(SignRequest, {"message": MESSAGE}, id="to sign"),
        pytest.param(DecryptRequest, {"sealed": MESSAGE, "seal_to": MESSAGE}, id="to decrypt"),
    ],
)
async def test_nobody_uses_the_hsm_without_a_lease(
    signing_desk: Desk, kind: type[Request], said: dict[str, str]
) -> None:
    desk = signing_desk
    await desk.made(1)
    asker = desk.scene.asker()
    assert await refused(desk, asker, asker.request(kind, key=KEY, version=1, **said)) == "expired"


async def test_what_is_not_the_askers_is_not_answered(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    subject, data = asker.bytes_of(asker.material(1), by=SigningKey.generate())
    with pytest.raises(WrongAuthorError):
        await desk.requests.on_request(subject, data)
    assert desk.delivered() == 0


def suspended(desk: Desk) -> None:
    desk.scene.suspended(1)


def compromised(desk: Desk) -> None:
    desk.scene.compromised(1)


def destroyed(desk: Desk) -> None:
    """And somebody has put its record back."""
    desk.scene.version(2)
    desk.scene.deactivated(1)
    desk.scene.scheduled(1)
    desk.scene.destroyed(1, at=NOW + timedelta(days=30))


NOT_GIVEN = [
    pytest.param(suspended, {}, "state-refused", "@1 is suspended", id="a suspended version"),
    pytest.param(compromised, {}, "state-refused", "@1 is compromised", id="a compromised version"),
    pytest.param(
        destroyed, {}, "state-refused", "@1 is destroyed", id="a resurrected blob of a destroyed version"
    ),
    pytest.param(
        Desk.responder_speaks,
        {},
        "state-refused",
        "responder's command",
        id="what a responder stopped just now",
    ),
    pytest.param(
        lambda _: None, {"versions": (7,)}, "not-found", "@7 is not generated", id="no such version"
    ),
    pytest.param(
        lambda _: None, {"key": "no-key"}, "not-found", "no-key is not registered", id="no such key"
    ),
]


@pytest.mark.parametrize(("happens", "said", "code", "words"), NOT_GIVEN)
async def test_what_is_not_given_is_refused_by_name_and_nothing_is_delivered(
    desk: Desk, happens: Callable[[Desk], None], said: dict[str, object], code: str, words: str
) -> None:
    await desk.made(1)
    happens(desk)
    asker = desk.scene.asker()
    answer = await answered(desk, asker, asker.request(MaterialRequest, **(fields() | said)))
    assert isinstance(answer, RefusalAnswer)
    assert (answer.code, answer.retry) == (code, False)
    assert words in answer.message
    assert answer.hint
    assert desk.delivered() == 0


async def test_a_key_without_a_grant_is_refused_by_name(desk: Desk) -> None:
    """The asker is enrolled; orders-db is granted to billing and orders."""
    await desk.made(1)
    asker = desk.scene.asker("shipping")
    answer = await answered(desk, asker, asker.material(1))
    assert isinstance(answer, RefusalAnswer)
    assert (answer.code, answer.message) == ("not-granted", "key orders-db is not granted to shipping")
    assert desk.delivered() == 0


def fields() -> dict[str, object]:
    seal_to = b64u_encode(SealingKey.generate().public_bytes())
    return {"key": KEY, "versions": (1,), "seal_to": seal_to}
