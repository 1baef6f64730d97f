"""A dependent that knows rekey only by its published contract: FastStream, cryptography, and deploy/asyncapi.json.

    python -m tests.system.plain_dependent SETTINGS.toml asyncapi.json KEY...

It hears pokes, reads its notices and stops, verifies them as the contract's description says (``plain_beliefs``), and writes
a JSON line for each rotation, each stop and each version that is lifted. It imports nothing of rekey, and subjects, headers
and types come from the document.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import logging
import re
import ssl
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats.errors
from faststream import ContextRepo, FastStream
from faststream.nats import NatsBroker, NatsMessage
from faststream.security import BaseSecurity

from tests.system.plain_beliefs import NOT_BELIEVED, Json, NotGenuineError, Stops, Trust, fact_in, opened

READ = "JSC.API.DIRECT.GET"
REQUEST_S = 5.0
REREAD_S = 2.0  # pokes may be lost
Headers = dict[str, str]


class Contract:
    """What the document says of a dependent's channels."""

    def __init__(self, document: Json, env: str, dependent: str) -> None:
        self._document = document
        self._places = {"env": env, "dependent": dependent}

    def subject(self, channel: str, **places: str) -> str:
        """The channel's address with these names in its places, a wildcard in the others."""
        address: str = self._document["channels"][channel]["address"]
        known = self._places | places
        return re.sub(r"\{(\w+)\}", lambda place: known.get(place[1], "*"), address)

    def stream(self, channel: str) -> str:
        """Where the channel's messages are kept."""
        return str(self._document["channels"][channel]["x-stream"])

    def type_of(self, channel: str) -> str:
        """The type of the one message that a dependent receives on the channel."""
        (message,) = self._document["operations"][f"application.receive.{channel}"]["messages"]
        return str(message["$ref"].rpartition("/")[2])


class Dependent:
    """What this service knows of its keys."""

    def __init__(self, broker: NatsBroker, contract: Contract, settings: Json) -> None:
        self._broker = broker
        self._contract = contract
        self._settings = settings
        self._trust = Trust(settings["trust_genesis"])
        self._trusted = 0
        self._known: dict[str, Json] = {}
        self._stops: dict[str, Stops] = {}
        self._one_at_a_time = asyncio.Lock()

    async def read(self, key: str) -> None:
        """Read what should be of a key and act on what is new.

        What is not genuine or not there now has no effect, and takes none from the other message.
        """
        self._stops.setdefault(key, Stops(self._settings["env"], key))
        async with self._one_at_a_time:
            with refusing(key):
                await self._read_trust()
                await self._read(key)

    async def _read(self, key: str) -> None:
        notice = stop = None
        with refusing(key):
            notice = await self._get("ntc", "distributor", key=key)
        with refusing(key):
            stop = await self._get("stop", "revocation", key=key)
        self._stop(key, [found for found in (notice, stop) if found is not None])
        if notice is not None:
            self._follow(key, notice[0])

    def _follow(self, key: str, notice: Json) -> None:
        before = self._known.get(key, {"current": None, "as_of": -1})
        if notice["as_of"] <= before["as_of"]:
            return
        if notice["current"] not in (None, before["current"]):
            activated = self._activated(notice)
            say(
                "rotated", key=key, version=notice["current"], since=activated["at"], cause=activated["cause"]
            )
        self._known[key] = notice

    async def read_all(self) -> None:
        """Read again every key that we have ever read or heard of."""
        for key in list(self._stops):
            await self.read(key)

    def _stop(self, key: str, messages: list[tuple[Json, dt.datetime]]) -> None:
        stops = self._stops[key]
        before = stops.stopped
        for message, stored_at in messages:
            with refusing(key):
                for error in stops.hear(message, stored_at, self._trust):
                    say("refused", key=key, why=repr(error))
        for event, versions in (("stopped", stops.stopped - before), ("resumed", before - stops.stopped)):
            for version in sorted(versions):
                say(event, key=key, version=version)

    def _activated(self, notice: Json) -> Json:
        """The scheduler's own word that the version is current."""
        keys = self._trust.keys("rotation-scheduler", ever=True)
        for signed in notice["facts"]:
            if signed["type"] == "rekey.key.activated.v1":
                fact = fact_in(signed, keys)
                if (fact["key"], fact["version"]) == (notice["key"], notice["current"]):
                    return fact
        raise NotGenuineError(f"no activated fact for version {notice['current']}")

    async def _get(self, channel: str, author: str, **places: str) -> tuple[Json, dt.datetime] | None:
        subject = self._contract.subject(channel, **places)
        found = await self._direct(self._contract.stream(channel), subject)
        if found is None:
            return None
        headers, body = found
        if (headers["Nats-Subject"], headers["ce-type"]) != (subject, self._contract.type_of(channel)):
            raise NotGenuineError(f"{subject}: found another message")
        keys = self._trust.keys(author)
        message = opened(headers["ce-type"], body, headers["ce-dssekeyid"], headers["ce-dssesignature"], keys)
        if (
            self._contract.subject(channel, key=message["key"]) != subject
            or message["env"] != self._settings["env"]
        ):
            raise NotGenuineError(f"{subject}: signed for another place")
        return message, stored_at(headers)

    async def _read_trust(self) -> None:
        while True:
            subject = self._contract.subject("trust", n=str(self._trusted + 1))
            found = await self._direct(self._contract.stream("trust"), subject)
            if found is None:
                return
            headers, body = found
            self._trust.extend(json.loads(body), stored_at(headers))
            self._trusted += 1

    async def _direct(self, stream: str, subject: str) -> tuple[Headers, bytes] | None:
        client = self._broker.connection
        inbox = client.new_inbox()  # of our own: the client's request makes an error of a stored Status: 503
        answers = await client.subscribe(inbox)
        try:
            await client.publish(f"{READ}.{stream}.{subject}", reply=inbox)
            answer = await answers.next_msg(REQUEST_S)
        finally:
            await answers.unsubscribe()
        headers = dict(answer.headers or {})
        if "Nats-Sequence" in headers:
            return headers, answer.data
        if headers.get("Status") == "404":
            return None
        raise NotGenuineError(f"{subject}: status {headers.get('Status')}")


def stored_at(headers: Headers) -> dt.datetime:
    """When the log took the message."""
    return dt.datetime.fromisoformat(headers["Nats-Time-Stamp"])


@contextmanager
def refusing(key: str) -> Iterator[None]:
    """Say of what is not believed that it is refused, and go on."""
    try:
        yield
    except (*NOT_BELIEVED, nats.errors.Error) as error:
        say("refused", key=key, why=repr(error))


def say(event: str, **fields: object) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def as_it_came(message: NatsMessage) -> bytes:
    """A poke repeats the headers of JSON, but has no body."""
    return bytes(message.body)


def connect(settings: Json) -> NatsBroker:
    """The bus, with the dependent's certificate and its own inbox."""
    tls = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings["tls_ca"])
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(settings["tls_cert"], settings["tls_key"])
    return NatsBroker(
        settings["bus_url"],
        security=BaseSecurity(ssl_context=tls),
        tls_hostname=settings["server_name"],
        inbox_prefix=f"_INBOX_{settings['dependent']}",
        logger=logging.getLogger(__name__),  # FastStream's own would write among our lines
    )


def compose(settings: Json, document: Json, keys: list[str]) -> FastStream:
    """The service."""
    broker = connect(settings)
    contract = Contract(document, settings["env"], settings["dependent"])
    dependent = Dependent(broker, contract, settings)
    app = FastStream(broker)

    async def on_poke(_: bytes, message: NatsMessage) -> None:
        await dependent.read(message.raw_message.subject.rpartition(".")[2])

    for channel in ("poke.ntc", "poke.stop"):
        broker.subscriber(contract.subject(channel), decoder=as_it_came)(on_poke)

    async def reread() -> None:
        while True:
            await asyncio.sleep(REREAD_S)
            await dependent.read_all()

    @app.after_startup
    async def begin(context: ContextRepo) -> None:
        for key in keys:
            await dependent.read(key)
        context.set_global("rereading", asyncio.create_task(reread()))
        say("ready")

    @app.on_shutdown
    async def end(context: ContextRepo) -> None:
        context.get("rereading").cancel()

    return app


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="hear of rotations without the SDK")
    parser.add_argument("settings", type=Path, help="of an enrolled dependent, as deploy/enrol writes them")
    parser.add_argument("contract", type=Path, help="deploy/asyncapi.json")
    parser.add_argument("keys", nargs="+", help="the keys to read at the start; pokes tell of others")
    options = parser.parse_args()
    settings = tomllib.loads(options.settings.read_text())
    asyncio.run(compose(settings, json.loads(options.contract.read_text()), options.keys).run())


if __name__ == "__main__":
    main()
