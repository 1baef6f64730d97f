"""Somebody is asked at a terminal: the name is typed, something else is, or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from rekey.cli.__main__ import run
from rekey.cli.app import app
from rekey.cli.confirm import typed
from rekey.cli.errors import NotConfirmedError
from rekey.cli.target import Target


class Terminal:
    """What a person does at the prompt."""

    def __init__(self, line: str, *, interrupts: bool = False) -> None:
        self._line, self._interrupts = line, interrupts

    def readline(self) -> str:
        """One line; Ctrl-C is a signal to this process, as a terminal sends it."""
        if self._interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        return self._line


async def asked(then: list[str]) -> None:
    """As a verb asks: in the task that would have to be told of an interruption."""
    typed("suspend", Target("orders-db", 1))
    then.append("sent")


@pytest.mark.parametrize("line", ["orders-db@2\n", "orders-db\n", "yes\n", "\n", ""])
def test_anything_but_the_name_is_no(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(line))
    with pytest.raises(NotConfirmedError, match="nothing was sent"):
        asyncio.run(asked([]))


def test_the_name_is_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(" orders-db@1 \n"))
    then: list[str] = []
    asyncio.run(asked(then))
    assert then == ["sent"]


def test_ctrl_c_at_the_prompt_ends_the_command_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before, then = signal.getsignal(signal.SIGINT), list[str]()
    monkeypatch.setattr(sys, "stdin", Terminal("orders-db@1\n", interrupts=True))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(asked(then))
    assert then == []
    assert signal.getsignal(signal.SIGINT) is before


def test_who_interrupts_is_told_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def waits() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(app["doctor"], "default_command", waits)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        assert run(["doctor"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "rekey: interrupted; a command that was accepted goes on\n"
