"""``python -m rekey_local``: the local stack and its story. ``deploy/up`` starts it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from rekey_core.errors import RekeyError
from rekey_core.names import Service
from rekey_local.cast import AUDITOR, DATA, OWNER, TOKENS, Cast
from rekey_local.commands import People
from rekey_local.environments import Environments
from rekey_local.errors import LocalError
from rekey_local.layout import Layout, write_private
from rekey_local.lock import exclusively, forget
from rekey_local.screen import Screen
from rekey_local.settings import context
from rekey_local.stack import Stack, default_state
from rekey_local.story import Story

LIVE_S: Final = 0.5
MAX_PORT: Final = 65_535
FOUNDED: Final = "founded"


def main() -> int:
    """The command line: 0 the story went well, 1 it did not, 130 interrupted before its end."""
    options = _parser().parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # closing a TLS connection is no news for people
    screen = Screen()
    code = 1
    try:
        layout = Layout(options.state.resolve())
        environments = Environments(options.env_root.resolve()) if options.env_root else Environments.around()
        with exclusively(layout):
            if options.fresh:
                forget(layout)
            if options.found:
                code = asyncio.run(_found(Stack(layout, environments, screen), screen, options.first_port))
            else:
                code = asyncio.run(_run(layout, environments, screen, once=options.once))
    except* (LocalError, RekeyError) as errors:
        for error in _leaves(errors):
            screen.fail(str(error), error.hint if isinstance(error, LocalError | RekeyError) else None)
    return code


async def _run(layout: Layout, environments: Environments, screen: Screen, *, once: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = Stack(layout, environments, screen)
    story = Story(Cast(stack, People(layout, environments), screen))
    try:
        told = await _unless(stop, _tell(stack, story, screen, once=once))
        if told and not once:
            await _stay(stop, story, screen)
    finally:
        screen.close()
        screen.say("stopping")
        await stack.down()
    screen.say(f"everything is stopped; {story.line()}")
    if told:
        story.check()
    return 0 if told else 130


async def _found(stack: Stack, screen: Screen, first_port: int | None) -> int:
    """Once for a state directory: afterwards its parts run by themselves, and two buses must never have one store."""
    mark = stack.layout.root / FOUNDED
    if mark.exists():
        screen.say("founded before; nothing to do")
        return 0
    try:
        await stack.found(first_port)
    finally:
        await stack.down()
    write_private(mark, "")
    return 0


async def _tell(stack: Stack, story: Story, screen: Screen, *, once: bool) -> None:
    screen.title(
        "rekey on this machine: nats-server, PostgreSQL, SoftHSM with two tokens, five services, two dependents"
    )
    await stack.up()
    screen.title(f"ready after {screen.elapsed_s:.1f} s")
    await story.run()
    screen.title(f"the story is told after {screen.elapsed_s:.1f} s")
    _next_steps(stack, screen, once=once)


def _next_steps(stack: Stack, screen: Screen, *, once: bool) -> None:
    program = Path(sys.executable).parent / "rekey"
    screen.say(f"try next, {'while deploy/up runs, ' if once else ''}in another terminal:")
    for person, command in (
        (OWNER, f"key rotate {DATA.name} --reason curiosity --wait 30"),
        (OWNER, f"adoption {TOKENS.name}"),
        (AUDITOR, f"key history {DATA.name}"),
    ):
        screen.say(f"  {program} {command} --context {context(stack.layout, person)}")
    screen.say("how each service is: /livez, /readyz, /metrics of")
    for service, url in stack.plan.http_urls.items():
        screen.say(f"  {service:<18} {url}")


async def _stay(stop: asyncio.Event, story: Story, screen: Screen) -> None:
    screen.say("everything stays up until Ctrl-C")
    while not stop.is_set():
        screen.live(story.line())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LIVE_S)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False if the event came first, and then the work is cancelled."""
    task, waiter = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        await task
        return True
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return False


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _first_port(text: str) -> int:
    """The first of as many ports as there are servers."""
    last = MAX_PORT - len(Service) - 1  # bus and database beside the services
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= last):
        message = f"expected a port from 1 to {last}, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deploy/up", description="rekey on this machine, and its story")
    parser.add_argument("--once", action="store_true", help="exit after the story: 0, or 1 on any miss")
    parser.add_argument("--found", action="store_true", help="found everything once, start nothing, exit")
    parser.add_argument(
        "--first-port", type=_first_port, metavar="PORT", help="with --found: this port and the next"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the state of earlier runs")
    parser.add_argument(
        "--state", type=Path, default=default_state(), metavar="DIR", help="where everything is kept"
    )
    parser.add_argument(
        "--env-root", type=Path, metavar="DIR", help="where each service's Python environment is"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
