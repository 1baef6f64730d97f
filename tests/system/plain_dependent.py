"""A dependent that knows rekey only by its published contract: FastStream, cryptography, and deploy/asyncapi.json.

    python plain_dependent.py SETTINGS.toml asyncapi.json

It hears pokes, reads its notices and stops, verifies them as the contract's description says, and writes a JSON line for
each rotation and each stop. It imports nothing of rekey, and subjects, headers and types come from the document.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import logging
import re
import ssl
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from faststream import ContextRepo, FastStream
from faststream.nats import NatsBroker, NatsMessage
from faststream.security import BaseSecurity

READ = "JSC.API.DIRECT.GET"
REQUEST_S = 5.0
REREAD_S = 2.0  # pokes may be lost
SSHSIG_NAMESPACE = b"rekey-trust@v1"

Json = dict[str, Any]
Headers = dict[str, str]


class NotGenuineError(Exception):
    """What was read is not what the contract says it must be."""


def unb64(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pae(kind: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


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


class Trust:
    """Whose keys are whose, from the pinned first document on."""

    def __init__(self, pinned: str) -> None:
        self._digest = pinned
        self._document: Json | None = None

    def extend(self, signed: Json) -> None:
        """Take the next document if it follows from the one before."""
        payload = unb64(signed["payload"])
        document = json.loads(payload)
        digest = hashlib.sha256(payload).hexdigest()
        if self._document is None:
            if digest != self._digest:
                raise NotGenuineError("the first trust document is not the pinned one")
        else:
            if (document["previous"], document["n"]) != (self._digest, self._document["n"] + 1):
                raise NotGenuineError("a trust document does not follow the one before")
            officers = {s["person"] for s in signed["signatures"] if self._is_officers(s, payload)}
            if len(officers) < self._document["quorum"]:
                raise NotGenuineError("a trust document lacks its quorum")
        self._document, self._digest = document, digest

    def keys(self, service: str) -> list[bytes]:
        """The raw public keys of a service."""
        return [unb64(key) for key in (self._document or {"services": {}})["services"].get(service, [])]

    def _is_officers(self, signature: Json, payload: bytes) -> bool:
        person = (self._document or {})["people"].get(signature["person"])
        if person is None or "trust-officer" not in person["roles"]:
            return False
        return any(is_sshsig(signature["sshsig"], payload, key) for key in person["ssh_keys"])


def is_sshsig(armored: str, message: bytes, public_key: str) -> bool:
    """Whether an ssh-ed25519 key signed the message in our namespace (OpenSSH PROTOCOL.sshsig)."""
    blob = base64.b64decode("".join(armored.strip().splitlines()[1:-1]))
    public = base64.b64decode(public_key.split()[1])
    key, namespace, reserved, name, signature = ssh_strings(blob[len(b"SSHSIG") + 4 :])
    if (key, namespace, reserved) != (public, SSHSIG_NAMESPACE, b""):
        return False
    digest = hashlib.new(name.decode(), message).digest()
    signed = b"SSHSIG" + b"".join(len(s).to_bytes(4, "big") + s for s in (namespace, b"", name, digest))
    return is_signed(list(ssh_strings(public))[1], list(ssh_strings(signature))[1], signed)


def ssh_strings(data: bytes) -> Iterator[bytes]:
    """Strings with their length before them (RFC 4251 §5)."""
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[4:end]
        data = data[end:]


def is_signed(raw: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the Ed25519 key signed the data."""
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def opened(kind: str, body: bytes, key_id: str, signature: str, keys: list[bytes]) -> Json:
    """Verify, then parse."""
    for raw in keys:
        if hashlib.sha256(raw).hexdigest()[:32] == key_id and is_signed(
            raw, unb64(signature), pae(kind, body)
        ):
            return dict(json.loads(body))
    raise NotGenuineError(f"{kind} is not signed by its author")


class Dependent:
    """What this service knows of its keys."""

    def __init__(self, broker: NatsBroker, contract: Contract, settings: Json) -> None:
        self._broker = broker
        self._contract = contract
        self._settings = settings
        self._trust = Trust(settings["trust_genesis"])
        self._trusted = 0
        self._known: dict[str, Json] = {}
        self._stopped: set[tuple[str, int]] = set()
        self._one_at_a_time = asyncio.Lock()

    async def read(self, key: str) -> None:
        """Read what should be of a key and act on what is new; what is not genuine or not there now has no effect."""
        async with self._one_at_a_time:
            try:
                await self._read(key)
            except (NotGenuineError, nats.errors.Error) as error:
                say("refused", key=key, why=str(error))

    async def _read(self, key: str) -> None:
        await self._read_trust()
        stop = await self._get("stop", "revocation", key=key)
        self._stop(key, stop)
        notice = await self._get("ntc", "distributor", key=key)
        if notice is None:
            return
        self._stop(key, notice)
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
        """Read again every key that we have heard of."""
        for key in list(self._known):
            await self.read(key)

    def _stop(self, key: str, message: Json | None) -> None:
        for stopped in (message or {"stopped": []})["stopped"]:
            if (key, stopped["version"]) not in self._stopped:
                self._stopped.add((key, stopped["version"]))
                say("stopped", key=key, version=stopped["version"])

    def _activated(self, notice: Json) -> Json:
        """The scheduler's own word that the version is current."""
        facts = [
            opened(
                f["type"],
                unb64(f["payload"]),
                f["key_id"],
                f["signature"],
                self._trust.keys("rotation-scheduler"),
            )
            for f in notice["facts"]
            if f["type"] == "rekey.key.activated.v1"
        ]
        for fact in facts:
            if (fact["key"], fact["version"]) == (notice["key"], notice["current"]):
                return fact
        raise NotGenuineError(f"no activated fact for version {notice['current']}")

    async def _get(self, channel: str, author: str, **places: str) -> Json | None:
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
        return message

    async def _read_trust(self) -> None:
        while True:
            subject = self._contract.subject("trust", n=str(self._trusted + 1))
            found = await self._direct(self._contract.stream("trust"), subject)
            if found is None:
                return
            self._trust.extend(json.loads(found[1]))
            self._trusted += 1

    async def _direct(self, stream: str, subject: str) -> tuple[Headers, bytes] | None:
        answer = await self._broker.request(b"", f"{READ}.{stream}.{subject}", timeout=REQUEST_S)
        status = None if "Nats-Sequence" in answer.headers else answer.headers.get("Status")
        if status == "404":
            return None
        if status is not None:
            raise NotGenuineError(f"{subject}: status {status}")
        return dict(answer.headers), bytes(answer.body)


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
