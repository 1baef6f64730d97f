"""The nine phase boundaries of a rotation, each between two messages, and a watcher that kills at one.

Nobody may listen in the account of the streams, so the watcher asks for the last message of a subject again and again, with
the rights of a service that may read it. The victim dies a few milliseconds after the first message was stored; whether
that was before the second one is looked at, and told.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import nats
from nats.aio.client import Client

from rekey_core.authority import Identity, Stream
from rekey_local.plan import SERVER_NAME
from rekey_provision import inbox
from rekey_provision.settings import tls_context
from tests.system.bus import ANSWER_S
from tests.system.stack import INSTANCES, NATS, RunningStack

POLL_S: Final = 0.002
NOT_FOUND: Final = 404
STREAM_OF: Final = {
    "evt": Stream.LIFECYCLE,
    "dlv": Stream.LIFECYCLE,
    "mat": Stream.MATERIAL,
    "ntc": Stream.NOTICES,
    "rcpt": Stream.RECEIPTS,
}


Says = Callable[[Mapping[str, Any], str, int], bool]


def anything(_: Mapping[str, Any], __: str, ___: int) -> bool:
    """That there is such a message is enough."""
    return True


def proves(phase: str) -> Says:
    """A receipt with a proof of this phase."""

    def says(receipt: Mapping[str, Any], key: str, version: int) -> bool:
        proofs = receipt["keys"].get(key, {}).get("proofs", {})
        return proofs.get(str(version), {}).get(phase) is not None

    return says


def names(notice: Mapping[str, Any], _: str, version: int) -> bool:
    """A notice that has heard of the version."""
    return version in (entry["version"] for entry in notice["versions"])


def is_current(notice: Mapping[str, Any], _: str, version: int) -> bool:
    """A notice that has heard that the version is current."""
    return bool(notice["current"] == version)


@dataclass(frozen=True)
class Point:
    """A message of a rotation: ``subject`` with {env}, {key}, {version} and {older}, and what the newest one there says."""

    subject: str
    says: Says = anything


@dataclass(frozen=True)
class Boundary:
    """Between two messages of a rotation; ``actor``: the process that acts there."""

    name: str
    reached: Point
    passed: Point
    actor: str
    reader: str = "audit"  # whose rights the watcher uses


_EVENT: Final = "evt.{env}.{key}.{version}.*"
_RECORD: Final = Point("mat.{env}.{key}.{version}")
_GENERATED: Final = Point(f"{_EVENT}.generated.*")
_BACKED_UP: Final = Point(f"{_EVENT}.backed-up.*")
_NOTICE: Final = "ntc.{env}.*.{key}"
_DELIVERED: Final = Point("dlv.{env}.{key}.{version}.*")
_INSTALLED: Final = Point("rcpt.{env}.*.*", proves("installed"))
_ACTIVATED: Final = Point(f"{_EVENT}.activated.*")
_SWITCHED: Final = Point("rcpt.{env}.*.*", proves("switched"))
_DEACTIVATED: Final = Point("evt.{env}.{key}.{older}.*.deactivated.*")

BOUNDARIES: Final = (
    Boundary(
        "a version is requested",
        Point(f"{_EVENT}.rotation-requested.*"),
        _RECORD,
        "generator",
        reader="generator",
    ),
    Boundary("it is generated, not backed up", _GENERATED, _BACKED_UP, "generator"),
    Boundary("its record is stored, generated is not", _RECORD, _GENERATED, "generator", reader="generator"),
    Boundary("it is generated, no notice is written", _GENERATED, Point(_NOTICE, names), "distributor"),
    Boundary("a first notice is written", Point(_NOTICE, names), _DELIVERED, INSTANCES[0]),
    Boundary("a first delivery is stored, not answered", _DELIVERED, _INSTALLED, "distributor"),
    Boundary("a first receipt says installed", _INSTALLED, _ACTIVATED, "rotation-scheduler"),
    Boundary("it is activated, nobody knows", _ACTIVATED, Point(_NOTICE, is_current), "distributor"),
    Boundary("a first receipt says switched", _SWITCHED, _DEACTIVATED, "rotation-scheduler"),
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
    """Kills one process when the boundary is reached; ``killed`` tells that it was, ``hit`` that it had not passed yet."""

    def __init__(self, stack: RunningStack, boundary: Boundary, victim: str, key: str, version: int) -> None:
        self._stack = stack
        self._boundary = boundary
        self._victim = victim
        self._key = key
        self._version = version
        self.hit = False
        self.killed = threading.Event()
        self._ready = threading.Event()
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[Killer]:
        """Listen in a thread of its own for the time of the block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._listen()), name="killer")
        thread.start()
        assert self._ready.wait(2 * ANSWER_S), "the watcher did not connect"
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
            connect_timeout=ANSWER_S,
            error_cb=_quiet,
        )
        before, _ = await self._last(client, self._boundary.reached)
        self._ready.set()
        while not self._stop.is_set() and not self.killed.is_set():
            sequence, said = await self._last(client, self._boundary.reached)
            if sequence > before and self._says(self._boundary.reached, said):
                await self._kill(client)
            await asyncio.sleep(POLL_S)
        await client.close()

    async def _kill(self, client: Client) -> None:
        """The bus can only be asked before it dies: a hit then is as good as the last millisecond."""
        if self._victim == NATS:
            self.hit = not await self._is_passed(client)
            self._stack.kill(self._victim)
        else:
            self._stack.kill(self._victim)
            self.hit = not await self._is_passed(client)
        self.killed.set()

    async def _is_passed(self, client: Client) -> bool:
        sequence, said = await self._last(client, self._boundary.passed)
        return sequence > 0 and self._says(self._boundary.passed, said)

    async def _last(self, client: Client, point: Point) -> tuple[int, bytes]:
        """Sequence and body of the newest message of the point's subject; (0, b"") if there is none."""
        subject = point.subject.format(
            env=self._stack.plan.env, key=self._key, version=self._version, older=self._version - 1
        )
        stream = STREAM_OF[subject.partition(".")[0]]
        question = json.dumps({"last_by_subj": subject}).encode()
        answer = json.loads(
            (await client.request(f"JSC.API.STREAM.MSG.GET.{stream}", question, timeout=ANSWER_S)).data
        )
        if "message" not in answer:
            assert answer["error"]["code"] == NOT_FOUND, answer
            return 0, b""
        return answer["message"]["seq"], base64.b64decode(answer["message"]["data"])

    def _says(self, point: Point, data: bytes) -> bool:
        return point.says(json.loads(data), self._key, self._version)


async def _quiet(error: Exception) -> None:
    """The server that we kill takes our connection with it."""
    del error
