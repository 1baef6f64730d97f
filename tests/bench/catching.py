"""A dependent that was away reads what should be of every key it has, against bare pipelined reads of the same subjects."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from nats.aio.client import Client

from rekey.connection import Connection
from rekey.credentials import Login
from rekey.events import Events
from rekey.identity import Identity as Instance
from rekey.identity import TransportKey
from rekey.keystate import KeyState
from rekey.member import Member, Shared, size_of
from rekey.quota import Quota
from rekey.settings import Settings
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import AeadVersion, InFlight
from rekey.worker import KeyWorker
from rekey_core.authority import Identity, Stream, Subjects
from rekey_core.ciphertext import aead_of
from rekey_core.contracts import Activated, Fact, Generated, Notice, NoticedVersion, event_id
from rekey_core.encoding import sha256_hex
from rekey_core.envelope import pack, sign
from rekey_core.names import Algorithm, Release, Service
from rekey_core.policy import POLICY_DIGEST
from rekey_core.readers import endorse
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey
from rekey_runtime import wire
from tests.bench.figures import Outcome, Scale, interleaved_async
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

DEPENDENT: Final = "orders"
TRY_S: Final = 30.0
RSA_BITS: Final = 2048  # nothing is unwrapped here
DIGEST: Final = "0" * 64


@dataclass
class Away:
    """An instance that holds version 1 of every key, and what the services would tell it."""

    bus: RunningBus
    names: list[str]
    workers: list[KeyWorker]
    generated: dict[str, Generated]
    as_of: int = 1


def catch_up(place: Path, scale: Scale) -> Outcome:
    """Milliseconds until an instance has read, verified and followed one changed notice of every key, and said so."""
    with running_bus(place, dependents=(DEPENDENT,)) as bus:
        return asyncio.run(_catch_up(place, bus, scale))


async def _catch_up(place: Path, bus: RunningBus, scale: Scale) -> Outcome:
    files = bus.certificate(Identity.APPLICATION, DEPENDENT)
    url = f"tls://127.0.0.1:{bus.plan.port}"
    connection = Connection(Login(url, "localhost", files.cert, files.key, files.ca, DEPENDENT))
    await connection.open(TRY_S)
    raw = await bus.connect(Identity.APPLICATION, DEPENDENT)
    distributor = await bus.connect(Identity.DISTRIBUTOR)
    try:
        away = await _away(place, bus, connection, scale.notices)
        pairs = await interleaved_async(
            scale.pairs, lambda _: _ours(away, distributor), lambda _: _raw(raw, away.names)
        )
    finally:
        for client in (connection, raw, distributor):
            await client.close()
    return Outcome(pairs, "ms", f"{scale.notices} keys, one notice and one stop read for each")


async def _ours(away: Away, distributor: Client) -> float:
    await _tell(away, distributor)
    began = time.perf_counter()
    await asyncio.gather(*(worker.reconcile() for worker in away.workers))
    took = time.perf_counter() - began
    if any(worker.key.as_of != away.as_of for worker in away.workers):
        raise AssertionError("a key did not catch up")
    return took * 1000


async def _raw(client: Client, names: Sequence[str]) -> float:
    subjects = Subjects(ENV)
    wanted = [s for n in names for s in (subjects.notice(DEPENDENT, n), subjects.stop(DEPENDENT, n))]
    began = time.perf_counter()
    prefix = f"{wire.API}.DIRECT.GET.{Stream.NOTICES}"
    await asyncio.gather(*(client.request(f"{prefix}.{subject}", b"", timeout=TRY_S) for subject in wanted))
    return (time.perf_counter() - began) * 1000


async def _tell(away: Away, distributor: Client) -> None:
    """Every notice once more, newer than before."""
    away.as_of += 1
    key, source = away.bus.services[Service.DISTRIBUTOR], f"/rekey/{ENV}/distributor"
    packed = [(name, pack(_notice(away, name), key, source=source)) for name in away.names]
    subjects = Subjects(ENV)
    answers = [
        distributor.request(subjects.notice(DEPENDENT, name), p.data, timeout=TRY_S, headers=p.headers)
        for name, p in packed
    ]
    for answer in await asyncio.gather(*answers):
        wire.acknowledged(answer.data, where=Stream.NOTICES)


def _notice(away: Away, name: str) -> Notice:
    made = away.generated[name]
    signers = away.bus.services
    activated = _fact(Activated, name, proved=())
    return Notice(
        env=ENV,
        dependent=DEPENDENT,
        key=name,
        as_of=away.as_of,
        at=datetime.now(UTC),
        algorithm=made.algorithm,
        release=made.release,
        versions=(NoticedVersion(version=1, key_id=made.key_id, state="active"),),
        current=1,
        stopped=(),
        facts=(
            sign(made, signers[Service.GENERATOR]),
            sign(activated, signers[Service.ROTATION_SCHEDULER]),
        ),
    )


def _fact(kind: type[Fact], key: str, **body: object) -> Fact:
    common = {"id": event_id("1", kind.TYPE, ENV, key, 1), "env": ENV, "key": key, "version": 1}
    common |= {"author": kind.AUTHOR, "checked": 0, "cause": "1", "policy": POLICY_DIGEST}
    return kind.model_validate(common | {"at": datetime.now(UTC)} | body)


def _generated(key: str) -> Generated:
    body = {"algorithm": Algorithm.AES_256_GCM, "release": Release.TRUSTED_RECIPIENT, "epoch": 1}
    body |= {"key_id": 1, "blob_digest": DIGEST, "commitment": DIGEST}
    fact = _fact(Generated, key, **body)
    assert isinstance(fact, Generated)
    return fact


async def _away(place: Path, bus: RunningBus, connection: Connection, keys: int) -> Away:
    names = [f"key-{number}" for number in range(keys)]
    generated = {name: _generated(name) for name in names}
    transport = TransportKey(rsa.generate_private_key(65537, RSA_BITS))
    seen = Seen.load(place / "seen")
    trust = TrustCache(connection, ENV, sha256_hex(bus.genesis_payload), seen, TRY_S)
    await trust.refresh()
    files = dict.fromkeys(("tls_cert", "tls_key", "tls_ca", "signing_key", "transport_key"), place)
    said = {"env": ENV, "dependent": DEPENDENT, "bus_url": "", "trust_genesis": DIGEST, "state_dir": place}
    settings = Settings.model_validate(files | said | {"try_s": TRY_S})
    unheard = Events(rotated=lambda _: None, stopped=lambda _: None, resumed=lambda _: None)
    shared = Shared(settings, connection, trust, seen, unheard)
    away = Away(bus, names, [], generated)
    members: list[Member] = []
    for name in names:
        size = size_of(_notice(away, name))
        if not members or not members[-1].has_room(size):
            members.append(Member(_instance(bus, transport), shared))
        worker = members[-1].add(name, size)
        _hold(worker.key, generated[name])
        away.workers.append(worker)
    return away


def _instance(bus: RunningBus, transport: TransportKey) -> Instance:
    key = SigningKey.generate()
    endorsed = endorse(DEPENDENT, ENV, key.public_raw, bus.dependents[DEPENDENT])
    return Instance(ENV, DEPENDENT, key, endorsed, transport)


def _hold(key: KeyState, fact: Generated) -> None:
    secret = Secret(os.urandom(64))
    version = AeadVersion(
        fact=fact,
        delivery=uuid.uuid4().hex,
        installed=DIGEST,
        in_flight=InFlight(),
        secret=secret,
        quota=Quota(f"{fact.key}@1"),
        aead=aead_of(secret),
    )
    version.confirm_switch(DIGEST)
    key.install(version)
    key.switch(1)
    key.leased = frozenset({1})
