"""One instance of a dependent, as any application would be: it uses the public SDK and nothing else of rekey.

It encrypts and decrypts (its own ciphertexts and those of the other instances), makes and verifies MACs, has tokens
signed and verifies everybody's, and has data keys wrapped, at a steady rate, and counts: twice a second it writes a
JSON line. Run by path in the
SDK's environment: ``python worker.py --settings FILE --name orders-1 --exchange DIRECTORY``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import rekey

DATA_KEY: Final = "orders-db"
MAC_KEY: Final = "webhook-mac"
TOKEN_KEY: Final = "token-signer"  # noqa: S105  the name of a key
ENVELOPE_KEY: Final = "envelope-root"
LOCAL_PER_S: Final = 200
REMOTE_PER_S: Final = 20
TICK_S: Final = 0.05
REPORT_S: Final = 0.5
EXCHANGE_S: Final = 0.5
FINISH_S: Final = 2.0
TOKEN_LIFETIME_S: Final = 300
FRESH_S: Final = 60.0  # tokens that a peer left longer ago than this may have expired
NEWEST: Final = 16  # ciphertexts shown to the others
KEPT: Final = 8  # ciphertexts kept from each version, so that old data is read for as long as the story runs
KEPT_VERSIONS: Final = 6
AAD: Final = b"rekey story"

KINDS: Final = ("encrypt", "decrypt", "mac", "check", "verify", "sign", "seal", "open")
BODY: Final = b'{"event":"order paid"}'  # what is MACed: the same everywhere, so that only MACs cross over

T = TypeVar("T")


@dataclass
class Count:
    """Calls of one kind. ``refused``: because the version is stopped or destroyed, as it must be; it is no failure."""

    done: int = 0
    failed: int = 0
    refused: int = 0
    slowest_ms: float = 0.0


@dataclass
class Report:
    """What the instance says of itself."""

    name: str
    pid: int = field(default_factory=os.getpid)
    current: dict[str, int | None] = field(default_factory=dict)  # what it protects with, by key
    calls: dict[str, Count] = field(default_factory=lambda: {kind: Count() for kind in KINDS})
    exchanged: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("decrypt", "verify"), 0)
    )  # done with what another instance made
    messages: dict[str, tuple[int, int]] = field(default_factory=dict)  # given and left, by key
    worked_s: float = 0.0
    stopped: list[dict[str, Any]] = field(default_factory=list)
    first_refused: dict[str, float] = field(default_factory=dict)  # ciphertext's key id in hex: Unix time
    last_failure: str | None = None

    def count(self, kind: str, started: float) -> None:
        """One call that went well."""
        count = self.calls[kind]
        count.done += 1
        count.slowest_ms = max(count.slowest_ms, (time.perf_counter() - started) * 1000)

    def fail(self, kind: str, error: rekey.RekeyError) -> None:
        """One call that failed."""
        self.calls[kind].failed += 1
        self.last_failure = f"{kind}: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class Surfaces:
    """What the SDK gives out for the four keys."""

    box: rekey.Keyring
    macs: rekey.Mac
    signer: rekey.Signer
    envelope: rekey.Envelope


class Corpus:
    """Ciphertexts, MACs, tokens and sealed data of this instance, and what the others left."""

    def __init__(self, directory: Path, name: str) -> None:
        self._file = directory / f"{name}.json"
        self._directory = directory
        self._new: deque[bytes] = deque(maxlen=NEWEST)
        self._kept: deque[bytes] = deque(maxlen=KEPT * KEPT_VERSIONS)
        self._macs: deque[bytes] = deque(maxlen=NEWEST)
        self._sealed: deque[bytes] = deque(maxlen=NEWEST)
        self._tokens: deque[str] = deque(maxlen=NEWEST)
        self.ciphertexts: list[bytes] = []
        self.macs: list[bytes] = []
        self.sealed: list[bytes] = []
        self.tokens: list[str] = []
        self.foreign: frozenset[bytes | str] = frozenset()  # what other instances made

    def add(self, ciphertext: bytes) -> None:
        """Remember one of our own."""
        self._new.append(ciphertext)

    def add_mac(self, mac: bytes) -> None:
        """Remember a MAC of our own."""
        self._macs.append(mac)

    def add_sealed(self, ciphertext: bytes) -> None:
        """Remember envelope-encrypted data of our own."""
        self._sealed.append(ciphertext)

    def add_token(self, token: str) -> None:
        """Remember a token of our own."""
        self._tokens.append(token)

    def keep(self) -> None:
        """The version changes: keep some ciphertexts of the old one."""
        self._kept.extend(list(self._new)[-KEPT:])
        self._new.clear()

    def exchange(self) -> None:
        """Show ours, take everybody's."""
        ours = {
            "at": time.time(),
            "ciphertexts": _texts((*self._kept, *self._new)),
            "macs": _texts(self._macs),
            "sealed": _texts(self._sealed),
            "tokens": list(self._tokens),
        }
        temporary = self._file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(ours))
        temporary.replace(self._file)
        by_file = {file: json.loads(file.read_bytes()) for file in sorted(self._directory.glob("*.json"))}
        everybody = list(by_file.values())
        others = [left for file, left in by_file.items() if file != self._file]
        self.ciphertexts = _bytes(everybody, "ciphertexts")
        self.macs = _bytes(everybody, "macs")
        self.sealed = _bytes(everybody, "sealed")
        fresh = [left for left in everybody if time.time() - left["at"] < FRESH_S]
        self.tokens = [one for left in fresh for one in left["tokens"]]
        self.foreign = frozenset(_bytes(others, "ciphertexts")).union(*(left["tokens"] for left in others))


@dataclass(frozen=True)
class Rates:
    """Calls per second."""

    local: int = LOCAL_PER_S
    remote: int = REMOTE_PER_S


class Worker:
    """The load of one instance."""

    def __init__(self, surfaces: Surfaces, corpus: Corpus, report: Report, rates: Rates) -> None:
        self._rates = rates
        self._box = surfaces.box
        self._macs = surfaces.macs
        self._signer = surfaces.signer
        self._envelope = surfaces.envelope
        self._corpus = corpus
        self._report = report
        self._random = random.Random(report.name)  # noqa: S311  which ciphertext comes next is no secret
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(TICK_S, self._local))
            group.create_task(every(1 / self._rates.remote, self._remote))
            group.create_task(every(EXCHANGE_S, self._corpus.exchange))

    async def finish(self) -> None:
        """Let the remote calls that are under way end, so that each is counted; not for ever: we were told to stop."""
        if self._asking:
            _, late = await asyncio.wait(self._asking, timeout=FINISH_S)
            for task in late:
                task.cancel()

    def _local(self) -> None:
        for _ in range(round(self._rates.local * TICK_S)):
            twice = (self._encrypt, self._decrypt) * 2
            self._random.choice((*twice, self._verify, self._mac, self._check))()

    def _remote(self) -> None:
        task = asyncio.create_task(self._random.choice((self._sign, self._sign, self._seal, self._open))())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _encrypt(self) -> None:
        data = self._random.randbytes(256)
        ciphertext = self._call("encrypt", lambda: self._box.encrypt(data, AAD))
        if ciphertext is not None:
            self._corpus.add(ciphertext)

    def _decrypt(self) -> None:
        if not self._corpus.ciphertexts:
            return self._encrypt()
        ciphertext = self._random.choice(self._corpus.ciphertexts)
        before = self._report.calls["decrypt"].refused
        if self._call("decrypt", lambda: self._box.decrypt(ciphertext, AAD)) is not None:
            self._report.exchanged["decrypt"] += ciphertext in self._corpus.foreign
        if self._report.calls["decrypt"].refused > before:
            self._report.first_refused.setdefault(key_id(ciphertext), time.time())
        return None

    def _verify(self) -> None:
        if not self._corpus.tokens:
            return self._encrypt()
        token = self._random.choice(self._corpus.tokens)
        if self._call("verify", lambda: self._signer.verify_jwt(token)) is not None:
            self._report.exchanged["verify"] += token in self._corpus.foreign
        return None

    def _mac(self) -> None:
        mac = self._call("mac", lambda: self._macs.compute(BODY))
        if mac is not None:
            self._corpus.add_mac(mac)

    def _check(self) -> None:
        if not self._corpus.macs:
            return self._mac()
        mac = self._random.choice(self._corpus.macs)
        self._call("check", lambda: self._macs.verify(mac, BODY))
        return None

    def _call(self, kind: str, call: Callable[[], T]) -> T | None:
        started = time.perf_counter()
        try:
            result = call()
        except (rekey.VersionStoppedError, rekey.VersionDestroyedError):
            self._report.calls[kind].refused += 1
            return None
        except rekey.RekeyError as error:
            self._report.fail(kind, error)
            return None
        self._report.count(kind, started)
        return result

    async def _sign(self) -> None:
        claims = {"iss": self._report.name, "exp": int(time.time()) + TOKEN_LIFETIME_S}
        token = await self._ask("sign", self._signer.sign_jwt(claims))
        if token is not None:
            self._corpus.add_token(token)

    async def _seal(self) -> None:
        data = self._random.randbytes(256)
        ciphertext = await self._ask("seal", self._envelope.encrypt(data, AAD))
        if ciphertext is not None:
            self._corpus.add_sealed(ciphertext)

    async def _open(self) -> None:
        if not self._corpus.sealed:
            return await self._seal()
        ciphertext = self._random.choice(self._corpus.sealed)
        await self._ask("open", self._envelope.decrypt(ciphertext, AAD))
        return None

    async def _ask(self, kind: str, call: Awaitable[T]) -> T | None:
        started = time.perf_counter()
        try:
            result = await call
        except (rekey.VersionStoppedError, rekey.VersionDestroyedError):
            self._report.calls[kind].refused += 1
            return None
        except rekey.RekeyError as error:
            self._report.fail(kind, error)
            return None
        self._report.count(kind, started)
        return result


def _texts(values: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in values]


def _bytes(everybody: Iterable[dict[str, Any]], kind: str) -> list[bytes]:
    return [base64.b64decode(one) for left in everybody for one in left[kind]]


async def every(seconds: float, action: Callable[[], None]) -> None:
    """Call at a steady rate; after a long stop it goes on from now instead of hurrying after the past."""
    due = time.monotonic()
    while True:
        action()
        due = max(due + seconds, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def key_id(ciphertext: bytes) -> str:
    """Which version made it: Tink's prefix is 0x01 and four bytes of key id."""
    return ciphertext[1:5].hex()


def write(event: str, **fields: object) -> None:
    """One JSON line for the supervisor."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def serve(settings: Path, name: str, exchange: Path, rates: Rates) -> None:
    """Connect, work until SIGTERM or SIGINT, close."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    report, corpus = Report(name), Corpus(exchange, name)
    async with rekey.connect(rekey.Settings.load(settings)) as keys:
        keys.on_rotated(lambda event: on_rotated(event, corpus))
        keys.on_stopped(lambda event: on_stopped(event, report))
        worker = Worker(await surfaces(keys), corpus, report, rates)
        write("ready")
        began = time.monotonic()
        await until(stop, worker.run(), every(REPORT_S, lambda: tell(keys, report, began)))
        await worker.finish()
    write("counts", **asdict(report))


async def surfaces(keys: rekey.Keys) -> Surfaces:
    """Join the four keys at the same time."""
    box, macs, signer, envelope = await asyncio.gather(
        keys.keyring(DATA_KEY), keys.mac(MAC_KEY), keys.signer(TOKEN_KEY), keys.envelope(ENVELOPE_KEY)
    )
    return Surfaces(box, macs, signer, envelope)


def tell(keys: rekey.Keys, report: Report, began: float) -> None:
    """Report the counts, and what the SDK says of its keys."""
    report.worked_s = time.monotonic() - began
    status = keys.status()
    report.current = {name: one.current for name, one in status.items()}
    report.messages = {name: one.messages for name, one in status.items() if one.messages}
    write("counts", **asdict(report))


def on_rotated(event: rekey.Rotated, corpus: Corpus) -> None:
    """The SDK protects with a new version from now on."""
    if event.key == DATA_KEY:
        corpus.keep()


def on_stopped(event: rekey.Stopped, report: Report) -> None:
    """The SDK has stopped a version, because a responder said so."""
    said = {"key": event.key, "version": event.version, "at": time.time(), "commanded": event.at.timestamp()}
    report.stopped.append(said)


async def until(stop: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Run the work until the event is set; an error in it ends everything."""
    tasks = [asyncio.create_task(one) for one in work]
    waiter = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, waiter):
        task.cancel()
    for task in done:
        await task
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="one instance of a dependent of the story")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--exchange", type=Path, required=True)
    parser.add_argument("--local-per-s", type=int, default=LOCAL_PER_S)
    parser.add_argument("--remote-per-s", type=int, default=REMOTE_PER_S)
    options = parser.parse_args()
    rates = Rates(options.local_per_s, options.remote_per_s)
    asyncio.run(serve(options.settings, options.name, options.exchange, rates))


if __name__ == "__main__":
    main()
