"""How a service runs: connect, check what was founded, consume, answer, watch, drain.

One table maps errors to what becomes of the message (``Verdict``), in one place. A message is acknowledged only after
its effect is stored. The process ends with 70 (sysexits: EX_SOFTWARE) when going on would be wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import math
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from rekey_core.authority import CONSUMERS, Consumer
from rekey_core.envelope import BusMessage
from rekey_core.errors import EXIT_FATAL, EXIT_PIN, FatalError, PinError, RekeyError
from rekey_core.room import LOOK_S
from rekey_runtime import renewal as renewing
from rekey_runtime.bus import Bus
from rekey_runtime.founded import Founded
from rekey_runtime.health import Check, Health
from rekey_runtime.http_server import HttpServer, Response, Route
from rekey_runtime.log import configure_log, say
from rekey_runtime.renewal import Renewal
from rekey_runtime.request_alarms import RequestAlarms
from rekey_runtime.settings import ServiceSettings, load_settings
from rekey_runtime.subscriptions import Answering, Consuming
from rekey_runtime.watchdog import ROUND_S, Watchdog

log = logging.getLogger(__name__)

CANCEL_AGAIN_S: Final = 0.2
NEW_OBJECTS: Final = (
    10_000  # between two collections of the youngest; Python's own 700 are for small programs
)

Handler = Callable[[BusMessage], Awaitable[None]]
Answer = Callable[[str, bytes], Awaitable[tuple[bytes, dict[str, str]]]]
Job = Callable[[], Awaitable[None]]
S = TypeVar("S", bound=ServiceSettings)


class Service:
    """One process, one identity. Register handlers and jobs, then ``run``."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.bus = Bus(settings)
        self._alarms = RequestAlarms(self.bus)
        self._consuming: list[Consuming] = []
        self._answering: list[Answering] = []
        self._jobs: list[tuple[float, Job]] = []
        self._background: list[Job] = []
        self._on_stop: list[Job] = []
        self._ready_when: list[tuple[Check, Job]] = []
        self._routes: list[Route] = []
        self.health = Health(settings.service.value, stale_s=settings.watchdog_s + ROUND_S)
        self.http = self._served()
        self._stopping = asyncio.Event()
        self._fatal: FatalError | None = None
        self._why: str | None = "starting"

    def consume(self, name: str, handler: Handler, *, concurrency: int = 8) -> None:
        """Give every message of the durable ``name`` (of this service, in ``authority.CONSUMERS``) to ``handler``.

        The handler returns when the effect is stored; its error decides what becomes of the message (errors.py).
        """
        consumer = _consumer(self.settings, name)
        self._consuming.append(Consuming(self.bus, consumer, handler, self._fail, concurrency))

    def answer(
        self, subject: str, handler: Answer, *, concurrency: int = 16, patience_s: float = math.inf
    ) -> None:
        """Answer core requests on ``subject`` (queue group: the service) with what ``handler`` returns.

        ``handler(subject, data)`` maps its own errors to signed answers; what it raises is logged, told as an alarm
        (``request_alarms``) and not answered.
        What waits is bounded in number (``max_waiting_requests``: the newest are dropped) and in time (``patience_s``:
        whoever waited longer asks again), so that under overload those that are answered are answered in time.
        """
        answering = Answering(self.bus, subject, handler, self._alarms, self._fail, concurrency, patience_s)
        self._answering.append(answering)

    def every(self, seconds: float, job: Job) -> None:
        """Run ``job`` again and again, ``seconds`` after it ended; its errors are logged."""
        self._jobs.append((seconds, job))

    def background(self, job: Job) -> None:
        """Run ``job`` beside the consumers; its end or error ends the process."""
        self._background.append(job)

    def on_stop(self, job: Job) -> None:
        """Run ``job`` after the last handler has ended."""
        self._on_stop.append(job)

    def ready_when(self, check: Check, job: Job) -> None:
        """A part of readiness beyond the bus, e.g. the HSM: ``job`` raises while it does not work."""
        self._ready_when.append((check, job))

    def serve(self, route: Route) -> None:
        """Let ``route`` answer paths of the process's HTTP server, beside ``/livez``, ``/readyz`` and ``/metrics``."""
        self._routes.append(route)

    def stop(self) -> None:
        """End ``run`` after what is in flight."""
        self._stopping.set()

    async def run(self, compose: Callable[[Service], Awaitable[None]]) -> int:
        """Connect, let ``compose`` register handlers and jobs, serve until SIGTERM or SIGINT; the exit code.

        ``compose`` runs with the bus connected and trust loaded, before any message is handled.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            await self._serve(compose)
        except RekeyError as error:
            self._fail(_fatal(error))
        finally:
            await self._close()
        return exit_code(self._fatal) if self._fatal else 0

    async def _serve(self, compose: Callable[[Service], Awaitable[None]]) -> None:
        if self.http is not None:
            await self.http.start()  # first: who asks is told that it starts
        await self.bus.connect()
        await self.bus.trust.load()
        renewal = Renewal(self.bus, self.health, self._bind)
        await Founded(self.bus, ()).verify()
        await self.bus.room.look()
        self.every(LOOK_S, self.bus.room.look)
        self.every(renewing.LOOK_S, renewal.look)
        await compose(self)
        founded = Founded(self.bus, [c.consumer for c in self._consuming])
        await founded.watch()
        self._bind()
        await self.bus.start()
        spare_what_stays()
        running = [asyncio.create_task(self._again(seconds, job)) for seconds, job in self._jobs]
        running += [asyncio.create_task(self._beside(job)) for job in self._background]
        watchdog = Watchdog(self.bus, self.health, founded, self._ready_when)
        running.append(asyncio.create_task(self._beside(lambda: self._watch(watchdog))))
        await self._stopping.wait()
        await _ended(running)

    def _bind(self) -> None:
        for consuming in self._consuming:
            consuming.bind()
        for answering in self._answering:
            answering.bind()

    async def _close(self) -> None:
        self.health.alive = self._fatal is None
        await self.bus.close()
        for job in reversed(self._on_stop):
            await job()
        if self.http is not None:
            await self.http.close()

    def _served(self) -> HttpServer | None:
        """The HTTP server, if settings name a port."""
        settings = self.settings
        if settings.http_port is None:
            return None
        return HttpServer(
            settings.http_host, settings.http_port, [self.health.answer, self._metrics, self._route]
        )

    async def _metrics(self, path: str) -> Response | None:
        return self.bus.metrics.response(self.health) if path == "/metrics" else None

    async def _route(self, path: str) -> Response | None:
        for route in self._routes:
            response = await route(path)
            if response is not None:
                return response
        return None

    async def _beside(self, job: Job) -> None:
        try:
            await job()
        except RekeyError as error:
            self._fail(_fatal(error))
        except Exception as error:
            log.exception("a background job failed", extra={"event": "unexpected"})
            self._fail(FatalError(type(error).__name__))

    async def _again(self, seconds: float, job: Job) -> None:
        while True:
            try:
                await job()
            except FatalError as error:
                self._fail(error)
            except RekeyError as error:
                log.warning("job: %s", error, extra={"event": "job-failed", "code": error.code})
            except Exception:  # one round that failed must not end the rounds to come
                log.exception("a job failed", extra={"event": "unexpected"})
            await asyncio.sleep(seconds)

    async def _watch(self, watchdog: Watchdog) -> None:
        while True:
            fatal = await watchdog.round()
            findings = self.health.findings
            self._say(findings[0].code if findings else None)
            if fatal is not None:
                self._fail(fatal)
            await asyncio.sleep(self.settings.watchdog_s)

    def _say(self, why: str | None) -> None:
        if why == self._why:
            return
        self._why = why
        service = self.settings.service.value
        if why is None:
            say("ready", service=service)
        else:
            say("not-ready", service=service, why=why)

    def _fail(self, error: FatalError) -> None:
        _say_fatal(error)
        self._fatal = self._fatal or error
        self._stopping.set()


def spare_what_stays() -> None:
    """Leave what was made until now out of every garbage collection to come, and collect seldom: most of the rest is folds.

    A fold that is kept is thousands of objects that stay; to look at them again and again was a tenth of a version's time.
    """
    gc.freeze()  # no collection before it: it would find little, and lengthen the start
    gc.set_threshold(NEW_OBJECTS)


def _consumer(settings: ServiceSettings, name: str) -> Consumer:
    found = [c for c in CONSUMERS if c.name == name and c.identity == settings.service.value]
    if not found:
        raise ValueError(f"{settings.service} has no consumer {name} in the authority table")
    return found[0]


def exit_code(error: RekeyError) -> int:
    """What the process ends with because of this error: 77 tells its supervisor not to start it again."""
    return EXIT_PIN if isinstance(error, PinError) else EXIT_FATAL


def _fatal(error: RekeyError) -> FatalError:
    return error if isinstance(error, PinError) else FatalError(f"{error.code}: {error}", hint=error.hint)


def _say_fatal(error: RekeyError) -> None:
    log.critical("%s", error, extra={"event": "fatal", "code": error.code})
    say("fatal", code=error.code, text=str(error))


def main(model: type[S], compose: Callable[[Service, S], Awaitable[None]]) -> None:
    """The process: ``python -m rekey_<name> --settings FILE``. Exits 0 after a drain, else as ``exit_code`` says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    configure_log()
    try:
        code = asyncio.run(_run(load_settings(arguments.settings, model), compose))
    except RekeyError as error:
        _say_fatal(error)
        code = exit_code(error)
    sys.exit(code)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until they end: ``asyncio.wait_for`` of Python 3.11 loses a cancellation that meets an answer (bpo-37658)."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def _run(settings: S, compose: Callable[[Service, S], Awaitable[None]]) -> int:
    return await Service(settings).run(lambda service: compose(service, settings))
