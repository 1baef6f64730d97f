"""A thousand versions leave their KEK epoch, those that never leave the HSM among them, while a dependent uses the keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import rekey
from rekey_core.contracts import Command, Destroy, KekAnswer, Register, Rotate
from rekey_local.settings import instance_settings
from tests.attacks.intruder import Intruder, intruder
from tests.system.instances import AAD
from tests.system.roll_over import Ceremony, followed
from tests.system.stack import RunningStack, running_stack

pytestmark = pytest.mark.matrix

VERSIONS: Final = int(os.environ.get("REKEY_VERSIONS", "1000"))
CLASSES: Final = (
    "application-data",
    "token-signing",
    "data-key-wrapping",
    "message-auth-hsm",
)  # three never leave
USED: Final = 3  # keys of each class that the dependent uses all the time
WAVE: Final = 50  # commands that are given at once
LOOK_S: Final = 2.0
LIMIT_S: Final = 900.0
OLD, NEW = 1, 2


@dataclass
class Application:
    """A dependent that never stops calling; every call that fails is kept."""

    calls: list[Callable[[], object]]
    done: int = 0
    failed: list[str] = field(default_factory=list)

    async def work(self) -> None:
        """Each call in turn, until cancelled."""
        while True:
            for call in self.calls:
                try:
                    answer = call()
                    if asyncio.iscoroutine(answer):
                        await answer
                except rekey.RekeyError as error:
                    self.failed.append(f"{error.code}: {error}")
                self.done += 1
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("many"), registered=False, instances=False) as running:
        yield running


@contextlib.asynccontextmanager
async def an_application(stack: RunningStack, names: dict[str, list[str]]) -> AsyncIterator[Application]:
    async with rekey.connect(rekey.Settings.load(instance_settings(stack.layout, "orders", 1))) as keys:
        boxes = [await keys.keyring(name) for name in names["application-data"]]
        signers = [await keys.signer(name) for name in names["token-signing"]]
        roots = [await keys.envelope(name) for name in names["data-key-wrapping"]]
        one = Application(
            [
                *(lambda box=box: box.decrypt(box.encrypt(b"data", AAD), AAD) for box in boxes),
                *(lambda signer=signer: signer.sign_jwt({"sub": "a"}) for signer in signers),
                *(lambda root=root: root.encrypt(b"document", AAD) for root in roots),
            ]
        )
        working = asyncio.create_task(one.work())
        try:
            yield one
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working


async def given(people: Intruder, commands: Sequence[Command], other: str | None = None) -> None:
    """All of them, some at once."""
    for start in range(0, len(commands), WAVE):
        some = commands[start : start + WAVE]
        await asyncio.gather(*(people.give_by_two(one, other) if other else people.give(one) for one in some))


async def until(stack: RunningStack, is_true: Callable[[KekAnswer], bool]) -> None:
    """Wait for what audit counts."""
    end = time.monotonic() + LIMIT_S
    while not is_true(await asyncio.to_thread(stack.keks, OLD)):
        assert time.monotonic() < end, "audit does not count what it should"
        await asyncio.sleep(LOOK_S)


def under(answer: KekAnswer, epoch: int) -> int:
    """How many versions lie under the epoch."""
    return sum(use.versions for use in answer.uses if use.epoch == epoch)


async def test_a_thousand_versions_leave_their_epoch_and_no_call_fails(
    stack: RunningStack, tmp_path: Path
) -> None:
    ceremony = Ceremony(stack, tmp_path)
    classes = {f"orders-{n}": CLASSES[n % len(CLASSES)] for n in range(VERSIONS)}
    names = {kind: [key for key, its in classes.items() if its == kind][:USED] for kind in CLASSES}
    async with intruder(stack) as people:

        def told(kind: type[Command], key: str, **said: object) -> Command:
            return people.command(kind, "alice", key, **said)

        rest = {"purpose": "many", "dependents": ("orders",)}
        await given(people, [told(Register, key, key_class=its, **rest) for key, its in classes.items()])
        await until(stack, lambda answer: under(answer, OLD) == answer.hanging == VERSIONS)
        for key in classes:
            await people.until(key, lambda state: state.current == 1, within_s=LIMIT_S)
        async with an_application(stack, names) as app:
            await asyncio.to_thread(ceremony.founded, NEW)
            began = time.monotonic()
            await followed(people, next(iter(classes)), NEW)  # the generator has noticed
            await given(people, [told(Rotate, key) for key in list(classes)[1:]])
            await until(stack, lambda answer: under(answer, NEW) == VERSIONS)
            for key in classes:
                await people.until(key, lambda s: len(s.versions.unsettled) == 1, within_s=LIMIT_S)
            rotated = time.monotonic()
            first = next(iter(classes))
            newest = (await people.state(first)).current or 0  # it may have rotated more than once
            old = [*((key, 1) for key in classes), *((first, number) for number in range(2, newest))]
            await given(people, [told(Destroy, key, version=n) for key, n in old], "rita")
            await until(stack, lambda answer: answer.hanging == 0)
            destroyed = time.monotonic()
            challenge = await asyncio.to_thread(ceremony.closed, OLD)
            code, said, wrong = await asyncio.to_thread(ceremony.retired, OLD, challenge)
            assert (code, said["left"]) == (0, []), wrong
            assert app.failed == []
            sys.stdout.write(
                f"{VERSIONS} versions: rotated in {rotated - began:.0f} s, destroyed in {destroyed - rotated:.0f} s; "
                f"epoch retired; {app.done} calls, 0 failed\n"
            )
