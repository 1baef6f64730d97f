"""The eight phase boundaries of a rotation, each the first message of its kind, and a watcher that kills at one.

Nobody may listen in the account of the streams, so the watcher asks for the last message of a subject again and again, with
the rights of a service that may read it: the victim dies a few milliseconds after the message was stored.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import nats
from nats.aio.client import Client

from rekey_core.authority import Identity, Stream
from rekey_local.plan import SERVER_NAME
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from tests.system.stack import INSTANCES, NATS, RunningStack

CONNECT_S: Final = 10.0
POLL_S: Final = 0.002
NOT_FOUND: Final = 404
STREAM_OF: Final = {
    "evt": Stream.LIFECYCLE,
    "dlv": Stream.LIFECYCLE,
    "mat": Stream.MATERIAL,
    "ntc": Stream.NOTICES,
    "rcpt": Stream.RECEIPTS,
}


@dataclass(frozen=True)
class Boundary:
    """A point of a rotation: ``subject`` with {env}, {key} and {version}; ``actor``: the process that acts there."""

    name: str
    subject: str
    actor: str
    needs: str | None = None  # a proof of this kind in the receipt
    reader: str = "audit"  # whose rights the watcher uses


BOUNDARIES: Final = (
    Boundary("a version is requested", "evt.{env}.{key}.{version}.*.rotation-requested.*", "generator"),
    Boundary(
        "its record is stored, generated is not",
        "mat.{env}.{key}.{version}",
        "generator",
        reader="distributor",
    ),
    Boundary(
        "it is generated, no notice is written", "evt.{env}.{key}.{version}.*.generated.*", "distributor"
    ),
    Boundary("a first notice is written", "ntc.{env}.*.{key}", INSTANCES[0]),
    Boundary("a first delivery is stored, not answered", "dlv.{env}.{key}.{version}.*", "distributor"),
    Boundary("a first receipt says installed", "rcpt.{env}.*.*", "rotation-scheduler", needs="installed"),
    Boundary("it is activated, nobody knows", "evt.{env}.{key}.{version}.*.activated.*", "distributor"),
    Boundary("a first receipt says switched", "rcpt.{env}.*.*", "rotation-scheduler", needs="switched"),
)
PROCESSES: Final = (
    "generator",
    "distributor",
    "rotation-scheduler",
    "revocation",
    "audit",
    NATS,
)


class Killer:
    """Kills one process when the boundary is reached; ``killed`` tells that it was."""

    def __init__(self, stack: RunningStack, boundary: Boundary, victim: str, key: str, version: int) -> None:
        self._stack = stack
        self._boundary = boundary
        self._victim = victim
        self._key = key
        self._version = version
        self.killed = threading.Event()
        self._ready = threading.Event()
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[Killer]:
        """Listen in a thread of its own for the time of the block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._listen()), name="killer")
        thread.start()
        assert self._ready.wait(CONNECT_S), "the watcher did not connect"
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    async def _listen(self) -> None:
        plan, directory = self._stack.plan, self._stack.layout.service(self._boundary.reader)
        client = await nats.connect(
            plan.bus_url,
            tls=tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt"),
            tls_hostname=SERVER_NAME,
            inbox_prefix=inbox(Identity(self._boundary.reader)),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            error_cb=_quiet,
        )
        before, _ = await self._last(client)
        self._ready.set()
        while not self._stop.is_set() and not self.killed.is_set():
            sequence, data = await self._last(client)
            if sequence > before and self._is_it(data):
                self.killed.set()
                await asyncio.to_thread(self._stack.kill, self._victim)
            await asyncio.sleep(POLL_S)
        await client.close()

    async def _last(self, client: Client) -> tuple[int, bytes]:
        """Sequence and body of the newest message of the boundary's subject; (0, b"") if there is none."""
        subject = self._boundary.subject.format(
            env=self._stack.plan.env, key=self._key, version=self._version
        )
        stream = STREAM_OF[subject.partition(".")[0]]
        question = json.dumps({"last_by_subj": subject}).encode()
        answer = json.loads(
            (await client.request(f"JSC.API.STREAM.MSG.GET.{stream}", question, timeout=5)).data
        )
        if "message" not in answer:
            assert answer["error"]["code"] == NOT_FOUND, answer
            return 0, b""
        return answer["message"]["seq"], base64.b64decode(answer["message"]["data"])

    def _is_it(self, data: bytes) -> bool:
        if self._boundary.needs is None:
            return True
        held: Mapping[str, dict[str, dict[str, dict[str, object]]]] = json.loads(data)["keys"]
        proof = held.get(self._key, {}).get("proofs", {}).get(str(self._version), {})
        return proof.get(self._boundary.needs) is not None


async def _quiet(error: Exception) -> None:
    """The server that we kill takes our connection with it."""
    del error
