"""Streams, consumers and the first trust document: created when missing, compared when there, never altered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import nats.errors
from nats.aio.client import Client

from rekey_core.authority import CONSUMERS, STREAMS, Consumer, StreamConfig, Subjects
from rekey_core.envelope import answer_status
from rekey_core.errors import UnavailableError
from rekey_core.jetstream import consumer_config, differences, stream_config
from rekey_provision.plan import BusPlan

API: Final = "JSC.API"  # CORE's JetStream, as the provisioner's account imports it
TIMEOUT_S: Final = 2.0  # a stream is made within 0.1 s; a cluster without leader does not answer at all
CLUSTER_WAIT_S: Final = 30.0  # a new cluster elects its leader and sees its peers within some seconds
CLUSTER_PAUSE_S: Final = 0.1
NOT_FOUND: Final = 404
NO_LEADER: Final = 10008  # errors.json: JetStream system temporarily unavailable
NO_PEERS_YET: Final = frozenset({10005, NO_LEADER, 10009, 10074, 10118})  # errors.json: peers not there yet


@dataclass(frozen=True)
class Report:
    """What was made, what was as it should be, and what differs (which a person has to look at)."""

    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    drift: tuple[str, ...]


async def provision(
    client: Client, plan: BusPlan, genesis: bytes | None = None, *, dry: bool = False
) -> Report:
    """Create what is missing, as the provisioner. Again: no change.

    ``genesis``: the first signed trust document (JSON); stored once. ``dry``: only say what would be created.

    Raises:
        UnavailableError: the bus does not answer or refuses.
    """
    created: list[str] = []
    unchanged: list[str] = []
    drift: list[str] = []
    outcomes = _outcomes(client, plan, genesis, dry=dry)
    async for what, made, differs in outcomes:
        (drift if differs else created if made else unchanged).append(
            f"{what}: {differs}" if differs else what
        )
    drift += await _strangers(client)
    return Report(tuple(created), tuple(unchanged), tuple(drift))


Outcome = tuple[str, bool, str]  # what, whether it was (or would be) created, how it differs


async def _outcomes(
    client: Client, plan: BusPlan, genesis: bytes | None, *, dry: bool
) -> AsyncIterator[Outcome]:
    for stream in STREAMS:
        yield await _stream(client, stream, plan, dry=dry)
    for consumer in CONSUMERS:
        yield await _consumer(client, consumer, plan, dry=dry)
    if genesis is not None:
        yield await _genesis(client, plan, genesis, dry=dry)


async def _stream(client: Client, stream: StreamConfig, plan: BusPlan, *, dry: bool) -> Outcome:
    expected = stream_config(stream, plan.env, plan.replicas)
    return await _ensure(
        client,
        f"stream {stream.name}",
        f"STREAM.INFO.{stream.name}",
        f"STREAM.CREATE.{stream.name}",
        expected,
        dry=dry,
    )


async def _consumer(client: Client, consumer: Consumer, plan: BusPlan, *, dry: bool) -> Outcome:
    place = f"{consumer.stream}.{consumer.name}"
    expected = consumer_config(consumer, plan.env)
    create = f"CONSUMER.DURABLE.CREATE.{place}"
    what = f"consumer {consumer.name}"
    return await _ensure(
        client, what, f"CONSUMER.INFO.{place}", create, expected, dry=dry, stream=consumer.stream
    )


async def _ensure(
    client: Client,
    what: str,
    info: str,
    create: str,
    expected: dict[str, object],
    *,
    dry: bool,
    stream: str = "",
) -> Outcome:
    found = await _ask(client, info)
    if _code(found) != NOT_FOUND:
        return what, False, "; ".join(differences(expected, found.get("config")))
    if not dry:
        body = {"stream_name": stream, "config": expected, "action": "create"} if stream else expected
        await _ask(client, create, body)
    return what, True, ""


async def _genesis(client: Client, plan: BusPlan, genesis: bytes, *, dry: bool) -> Outcome:
    what, subject = "trust document 1", Subjects(plan.env).trust(1)
    stored = await _stored(client, subject)
    if stored is not None:
        return what, False, "" if stored == genesis else "another one is stored"
    if not dry:
        headers = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Expected-Stream": "TRUST"}
        answer = json.loads((await client.request(subject, genesis, timeout=TIMEOUT_S, headers=headers)).data)
        if "error" in answer:
            raise UnavailableError(f"{what}: {answer['error'].get('description')}")
    return what, True, ""


async def _stored(client: Client, subject: str) -> bytes | None:
    """None also when nobody answers: a plan before the stream is there."""
    inbox = client.new_inbox()  # the client's request makes "nobody is there" of a document with status 503
    answers = await client.subscribe(inbox)
    try:
        await client.publish(f"{API}.DIRECT.GET.TRUST.{subject}", b"", reply=inbox)
        found = await answers.next_msg(TIMEOUT_S)
    finally:
        await answers.unsubscribe()
    return found.data if answer_status(found.headers or {}) is None else None


async def _strangers(client: Client) -> list[str]:
    """Streams and consumers that the table does not name."""
    streams = await _ask(client, "STREAM.NAMES")
    known = {s.name.value for s in STREAMS}
    found = [
        f"stream {name}: not in the authority table"
        for name in _names(streams, "streams")
        if name not in known
    ]
    for stream in STREAMS:
        consumers = await _ask(client, f"CONSUMER.NAMES.{stream.name}")
        mine = {c.name for c in CONSUMERS if c.stream is stream.name}
        found += [
            f"consumer {name} of {stream.name}: not in the authority table"
            for name in _names(consumers, "consumers")
            if name not in mine
        ]
    return found


def _names(answer: dict[str, object], field: str) -> list[str]:
    names = answer.get(field)
    return [str(name) for name in names] if isinstance(names, list) else []


async def _ask(client: Client, what: str, body: object = None) -> dict[str, object]:
    """One request to JetStream's API; tried again while a new cluster has no leader or peers yet."""
    payload = b"" if body is None else json.dumps(body).encode()
    until = asyncio.get_running_loop().time() + CLUSTER_WAIT_S
    while True:
        found = await _answer(client, what, payload)
        refused = found.get("error")
        if not isinstance(refused, dict) or refused.get("code") == NOT_FOUND:
            return found
        if refused.get("err_code") not in NO_PEERS_YET or asyncio.get_running_loop().time() > until:
            raise UnavailableError(f"{what}: {refused.get('description')} ({refused.get('err_code')})")
        await asyncio.sleep(CLUSTER_PAUSE_S)


async def _answer(client: Client, what: str, payload: bytes) -> dict[str, object]:
    """The answer; one that does not come is one of a cluster without a leader."""
    try:
        answer = await client.request(f"{API}.{what}", payload, timeout=TIMEOUT_S)
    except nats.errors.TimeoutError:
        return {"error": {"err_code": NO_LEADER, "description": "no answer"}}
    except nats.errors.Error as error:
        raise UnavailableError(f"{what}: {error}") from error
    found: dict[str, object] = json.loads(answer.data)
    return found


def _code(answer: dict[str, object]) -> object:
    error = answer.get("error")
    return error.get("code") if isinstance(error, dict) else None
