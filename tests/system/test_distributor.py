"""Deliveries are stored in groups before anybody is answered; public keys are served over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import tomllib
import uuid
from collections.abc import Iterator

import nats
import pytest

from rekey_core.authority import Identity
from rekey_core.contracts import Delivery
from rekey_core.encoding import b64u_decode
from rekey_core.errors import ConflictError
from rekey_core.fold import KeyState
from rekey_core.jwk import public_jwk
from rekey_core.names import Algorithm, Service
from rekey_distributor.deliveries import Deliveries
from rekey_local.plan import SERVER_NAME
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from tests.system.bus import ANSWER_S, RunningBus
from tests.system.certificates import ENV
from tests.system.stack import RunningStack, running_stack

INSTANCES = 250


def a_delivery() -> Delivery:
    digest = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    return Delivery(
        delivery=uuid.uuid4().hex,
        dependent="orders",
        instance=uuid.uuid4().hex,
        installed=digest,
        switched=digest,
    )


async def test_many_instances_share_a_message_and_each_is_stored_before_it_is_answered(
    environment: RunningBus,
) -> None:
    state = KeyState(env=ENV, key="orders-many")
    async with environment.service_bus(Service.DISTRIBUTOR) as bus:
        deliveries = Deliveries(bus)

        async def one() -> None:
            delivery = a_delivery()
            await deliveries.record(state, 1, delivery)
            assert await deliveries.found("orders-many", 1, delivery.instance) == delivery

        await asyncio.gather(*(one() for _ in range(INSTANCES)))
        batches = await deliveries.of("orders-many", 1)
    assert sum(len(batch.deliveries) for batch in batches) == INSTANCES
    assert len(batches) <= INSTANCES // 10


async def test_nobody_of_a_group_that_came_too_late_is_answered(environment: RunningBus) -> None:
    async with environment.service_bus(Service.DISTRIBUTOR) as bus:
        deliveries, late = Deliveries(bus), KeyState(env=ENV, key="orders-late", last_sequence=12345)
        outcomes = await asyncio.gather(
            *(deliveries.record(late, 1, a_delivery()) for _ in range(5)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ConflictError] * 5
        assert await deliveries.of("orders-late", 1) == []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("jwks"), instances=False) as running:
        yield running


def get(stack: RunningStack, path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    file = stack.layout.service("distributor") / "settings.toml"
    settings = tomllib.loads(file.read_text())
    connection = http.client.HTTPConnection(settings["http_host"], settings["http_port"], timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body: dict[str, object] = json.loads(answer.read())
        return answer.status, body
    finally:
        connection.close()


def test_the_public_keys_of_a_signing_key_are_those_that_generated_names(stack: RunningStack) -> None:
    status, body = get(stack, "/dev/token-signer/jwks.json")
    assert status == 200
    keys = body["keys"]
    assert isinstance(keys, list)
    assert [(key["kty"], key["crv"], key["alg"]) for key in keys] == [("EC", "P-256", "ES256")]
    assert {key["kid"] for key in keys} == {
        public_jwk(Algorithm.EC_P256, spki)["kid"] for spki in spkis(stack)
    }


def spkis(stack: RunningStack) -> list[bytes]:
    """The SPKIs in the log itself."""
    subject = f"evt.{ENV}.token-signer.*.generator.generated.*"
    return [b64u_decode(json.loads(body)["spki"]) for body in asyncio.run(bodies(stack, subject))]


async def bodies(stack: RunningStack, subject: str) -> list[bytes]:
    """What lies on a subject of LIFECYCLE, read with the rights of audit."""
    directory = stack.layout.service("audit")
    client = await nats.connect(
        stack.plan.bus_url,
        tls=tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt"),
        tls_hostname=SERVER_NAME,
        inbox_prefix=inbox(Identity.AUDIT),
        connect_timeout=ANSWER_S,
    )
    try:
        question = json.dumps({"last_by_subj": subject}).encode()
        answer = json.loads(
            (await client.request("JSC.API.STREAM.MSG.GET.LIFECYCLE", question, timeout=5)).data
        )
        return [base64.b64decode(answer["message"]["data"])]
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/dev/orders-db/jwks.json", id="a key without public keys"),
        pytest.param("GET", "/dev/nobody/jwks.json", id="a key that does not exist"),
        pytest.param("GET", "/prod/token-signer/jwks.json", id="another environment"),
        pytest.param("POST", "/dev/token-signer/jwks.json", id="anything but GET"),
        pytest.param("GET", "/dev/../token-signer/jwks.json", id="a path that climbs"),
    ],
)
def test_everything_else_is_not_found(stack: RunningStack, method: str, path: str) -> None:
    status, body = get(stack, path, method)
    assert status == 404
    assert "error" in body
