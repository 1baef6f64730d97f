"""What a distributor does when a version is there: notices for every dependent, and the version for each that asks."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from nats.aio.client import Client

from rekey_core.authority import Identity, Stream, Subjects
from rekey_core.contracts import MaterialRequest
from rekey_core.encoding import b64u_encode
from rekey_core.names import Service
from rekey_core.readers import endorse
from rekey_core.signing import SigningKey
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.delivering import Delivering
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.handlers import Distributor
from rekey_distributor.records import Records
from rekey_distributor.releasing import Releasing
from rekey_generator.handlers import Generator
from rekey_hsm import DistributorHsm, GeneratorHsm
from rekey_hsm.officer import enrol_transport_key
from rekey_runtime import wire
from rekey_runtime.bus import Bus
from rekey_runtime.clock import BusClock
from rekey_runtime.keylog import KeyLog
from tests.bench.creating import read_requests
from tests.bench.figures import Outcome, Scale, interleaved_async
from tests.bench.system import EPOCH, KEK, Tokens, filling, found_tokens
from tests.hsm_tokens import MODULE, spki_of
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

TIMEOUT_S: Final = 30.0
RSA_BITS: Final = 3072
NOTICE_BYTES: Final = 3200  # as one is with a version in motion
DELIVERED_BYTES: Final = 13_000  # of 50 instances
HEADERS: Final = {"ce-dssesignature": "x" * 86, "ce-dssekeyid": "x" * 32, "ce-type": "rekey.notice.v1"}


def notices(place: Path, scale: Scale) -> Outcome:
    """Notices per second: every dependent of some keys is told of a new version; the raw half stores ready bytes."""
    names = dependents_of(scale)
    with running_bus(place, dependents=names) as bus:
        return asyncio.run(_notices(place, bus, names, scale))


async def _notices(place: Path, bus: RunningBus, names: Sequence[str], scale: Scale) -> Outcome:
    tokens = found_tokens(place)
    keys = [f"key-{number}" for number in range(scale.pairs * scale.noticed_keys)]
    async with filling(bus) as log:
        for key in keys:
            await log.register(key, names)
        await log.version(*keys)
    hsm = await DistributorHsm.open(tokens.distributor)
    client = await bus.connect(Identity.DISTRIBUTOR)
    each = scale.noticed_keys
    try:
        async with bus.service_bus(Service.DISTRIBUTOR) as connection:
            keylog = KeyLog(connection)
            distributor = Distributor(connection, keylog, hsm, Records(connection, hsm), Emergencies())
            pairs = await interleaved_async(
                scale.pairs,
                lambda n: told(distributor, keys[n * each : (n + 1) * each], len(names)),
                lambda n: raw_notices(client, n, each, names),
            )
    finally:
        await client.close()
        await hsm.close()
    return Outcome(pairs, "1/s", f"{each} keys x {len(names)} dependents, one key after the other")


async def told(distributor: Distributor, keys: Sequence[str], dependents: int) -> float:
    """Notices per second while every dependent is told of what is new of some keys."""
    began = time.perf_counter()
    for key in keys:
        await distributor.notice(await distributor.keylog.state(key))
    return len(keys) * dependents / (time.perf_counter() - began)


async def raw_notices(client: Client, pair: int, keys: int, dependents: Sequence[str]) -> float:
    """Ready bytes per second, as many at once as there are dependents."""
    subjects, body = Subjects(ENV), bytes(NOTICE_BYTES)
    began = time.perf_counter()
    for number in range(keys):
        places = [subjects.notice(name, f"raw-{pair}-{number}") for name in dependents]
        answers = (client.request(place, body, timeout=TIMEOUT_S, headers=HEADERS) for place in places)
        for answer in await asyncio.gather(*answers):
            wire.acknowledged(answer.data, where=Stream.NOTICES)
    return keys * len(dependents) / (time.perf_counter() - began)


def release(place: Path, scale: Scale) -> Outcome:
    """Milliseconds until one version is released to one instance of each of 50 dependents that ask at once."""
    tokens, names = found_tokens(place), dependents_of(scale)
    transport = rsa.generate_private_key(
        65537, RSA_BITS
    )  # one key under every name: what is measured is its use
    enrolled = [
        enrol_transport_key(
            module=MODULE,
            token_label=tokens.distributor.label,
            serial=tokens.distributor.serial,
            so_pin=tokens.distributor_so_pin,
            dependent=name,
            spki_der=spki_of(transport),
        )
        for name in names
    ]
    with running_bus(place, dependents=names, transport_key=enrolled[0].spki_sha256) as bus:
        return asyncio.run(_release(bus, tokens, names, scale))


async def _release(bus: RunningBus, tokens: Tokens, names: Sequence[str], scale: Scale) -> Outcome:
    keys = [f"key-{number}" for number in range(scale.pairs)]
    await _made(bus, tokens, keys, names)
    hsm = await DistributorHsm.open(tokens.distributor)
    client = await bus.connect(Identity.DISTRIBUTOR)
    try:
        async with bus.service_bus(Service.DISTRIBUTOR) as connection:
            releasing = _releasing(connection, hsm)
            pairs = await interleaved_async(
                scale.pairs,
                lambda n: _released(releasing, keys[n], bus, names),
                lambda n: _raw_release(releasing, client, keys[n], names),
            )
    finally:
        await client.close()
        await hsm.close()
    return Outcome(pairs, "ms", f"{len(names)} dependents, one instance each, all at once")


async def _made(bus: RunningBus, tokens: Tokens, keys: Sequence[str], names: Sequence[str]) -> None:
    """Version 1 of every key, by the generator."""
    async with filling(bus) as log:
        for key in keys:
            await log.register(key, names)
            await log.request(key)
    hsm = await GeneratorHsm.open(tokens.generator)
    async with bus.service_bus(Service.GENERATOR) as connection:
        generator = Generator(connection, KeyLog(connection), hsm, EPOCH)
        for request in await read_requests(connection, keys):
            await generator.on_rotation_requested(request)
    await hsm.close()


def _releasing(bus: Bus, hsm: DistributorHsm) -> Releasing:
    keylog = KeyLog(bus)
    delivering = Delivering(keylog, Deliveries(bus))
    clock = BusClock(bus, Stream.LEASES)
    return Releasing(bus, hsm, Records(bus, hsm), delivering, Emergencies(), clock)


async def _released(releasing: Releasing, key: str, bus: RunningBus, names: Sequence[str]) -> float:
    requests = [_request(bus, name, key) for name in names]
    began = time.perf_counter()
    answers = await asyncio.gather(*(releasing.material(request) for request in requests))
    took = time.perf_counter() - began
    if any(len(answer.releases) != 1 for answer in answers):
        raise AssertionError("a version was not released")
    return took * 1000


async def _raw_release(releasing: Releasing, client: Client, key: str, names: Sequence[str]) -> float:
    """The HSM's part for each, one after the other, and one message that says so."""
    state = await releasing.delivering.keylog.state(key)
    lies = state.versions[1].wrapped
    assert lies is not None
    blob = await releasing.records.blob(lies)
    spki = releasing.bus.trust.current.dependent(names[0]).transport_key
    began = time.perf_counter()
    for name in names:
        await releasing.hsm.release_secret(
            KEK, blob, recipient=name, recipient_spki_sha256=spki, mac_inputs=(b"1", b"2", b"3")
        )
    where = Subjects(ENV).delivered(f"raw-{key}", 1, uuid.uuid4().hex)
    answer = await client.request(where, bytes(DELIVERED_BYTES), timeout=TIMEOUT_S, headers=HEADERS)
    wire.acknowledged(answer.data, where=where)
    return (time.perf_counter() - began) * 1000


def _request(bus: RunningBus, dependent: str, key: str) -> MaterialRequest:
    instance = SigningKey.generate()
    return MaterialRequest(
        env=ENV,
        dependent=dependent,
        instance=instance.key_id,
        endorsement=endorse(dependent, ENV, instance.public_raw, bus.dependents[dependent]),
        nonce=secrets.token_hex(16),
        sent_at=datetime.now(UTC),
        key=key,
        versions=(1,),
        seal_to=b64u_encode(bytes(32)),
    )


def dependents_of(scale: Scale) -> list[str]:
    """Their names."""
    return [f"dependent-{number}" for number in range(scale.dependents)]
