"""Processes are kept running, stopped for good, and never outlive their supervisor. Real processes, no network."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rekey_local.child import ChildPlan, Line
from rekey_local.errors import NotReadyError
from rekey_local.supervisor import BACK_OFF_S, Event, Keeper

READY = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(json.dumps({"event": "ready"}), flush=True)
print("not json", flush=True)
print(json.dumps({"event": "counts", "n": 1}), flush=True)
time.sleep(60)
"""
STUBBORN = READY.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
WRONG_PIN = """
import json, sys
print(json.dumps({"event": "fatal", "text": "token t refuses the PIN"}), flush=True)
sys.exit(77)
"""
FATAL = WRONG_PIN.replace("token t refuses the PIN", "no such stream").replace("77", "70")
WAVERING = """
import json, time
for line in ({"event": "ready"}, {"event": "not-ready", "why": "bus"}, {"event": "ready"}):
    print(json.dumps(line), flush=True)
time.sleep(60)
"""
SILENT = "import time; time.sleep(60)"


class Kept:
    """A keeper with what it said."""

    def __init__(self, code: str, log: Path) -> None:
        self.said: list[tuple[Event, str]] = []
        self.lines: asyncio.Queue[Line] = asyncio.Queue()
        self.words: asyncio.Queue[str] = asyncio.Queue()
        plan = ChildPlan("part", (sys.executable, "-c", code), log)
        self.keeper = Keeper(plan, self._say, lambda _, line: self.lines.put_nowait(line))

    def _say(self, name: str, event: Event, text: str) -> None:
        assert name == "part"
        self.said.append((event, text))
        self.words.put_nowait(text)


@pytest.fixture
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    one = Kept(request.param, tmp_path / "part.log")
    one.keeper.start()
    yield one
    await one.keeper.stop()


@pytest.mark.parametrize("kept", [READY], indirect=True)
async def test_a_process_that_is_killed_starts_again_after_a_pause(kept: Kept) -> None:
    await kept.keeper.ready(10)
    first = kept.keeper.pid
    killed_at = time.monotonic()

    kept.keeper.kill()
    await kept.keeper.ready(10)

    assert kept.keeper.pid not in {None, first}
    assert time.monotonic() - killed_at >= BACK_OFF_S[0]
    assert (Event.DIED, "ended by SIGKILL; starts again in 0.2 s") in kept.said
    assert kept.keeper.restarts == 1


@pytest.mark.parametrize("kept", [READY], indirect=True)
async def test_who_is_killed_by_its_keeper_did_not_fail_and_who_dies_otherwise_did(kept: Kept) -> None:
    for is_by_keeper in (True, True, False):
        await kept.keeper.ready(10)
        pid = kept.keeper.pid
        assert pid is not None
        if is_by_keeper:
            kept.keeper.kill()
        else:
            os.kill(pid, signal.SIGKILL)
        while "starts again" not in await kept.words.get():
            pass

    await kept.keeper.ready(10)

    assert [text for event, text in kept.said if event is Event.DIED] == [
        f"ended by SIGKILL; starts again in {pause:g} s" for pause in (BACK_OFF_S[0], *BACK_OFF_S[:2])
    ]


@pytest.mark.parametrize("kept", ["raise SystemExit(70)"], indirect=True)
async def test_a_process_that_cannot_start_is_tried_later_each_time(kept: Kept) -> None:
    said = [await kept.words.get() for _ in range(3)]

    assert said == [f"exited with 70; starts again in {pause:g} s" for pause in BACK_OFF_S[:3]]


@pytest.mark.parametrize("kept", [WRONG_PIN], indirect=True)
async def test_a_pin_that_the_token_refuses_is_never_tried_again(kept: Kept) -> None:
    with pytest.raises(NotReadyError, match="part is not ready: token t refuses the PIN") as caught:
        await kept.keeper.ready(60)

    assert "part.log" in str(caught.value.hint)
    assert [event for event, _ in kept.said] == [Event.GIVEN_UP]
    assert "exited with 77: token t refuses the PIN" in kept.said[0][1]
    assert kept.keeper.restarts == 0


@pytest.mark.parametrize("kept", [FATAL], indirect=True)
async def test_the_last_word_of_a_process_is_said_with_its_log(kept: Kept, tmp_path: Path) -> None:
    said = await kept.words.get()

    log = tmp_path / "part.log"
    assert said == f"exited with 70: no such stream (log: {log}); starts again in {BACK_OFF_S[0]:g} s"


@pytest.mark.parametrize("kept", [WAVERING], indirect=True)
async def test_a_process_that_is_not_ready_any_more_is_said_to_be(kept: Kept) -> None:
    said = [await kept.words.get() for _ in range(3)]

    assert said == ["", "is not ready: bus", "is ready again"]


@pytest.mark.parametrize("kept", [READY], indirect=True)
async def test_a_stopped_process_stays_stopped_and_can_be_started_again(kept: Kept) -> None:
    await kept.keeper.ready(10)

    await kept.keeper.stop()

    assert kept.keeper.pid is None
    assert not kept.keeper.is_ready
    assert Event.DIED not in [event for event, _ in kept.said]
    kept.keeper.start()
    await kept.keeper.ready(10)


@pytest.mark.parametrize("kept", [STUBBORN], indirect=True)
async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_time(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rekey_local.supervisor.GRACE_S", 0.2)
    await kept.keeper.ready(10)
    pid = kept.keeper.pid
    assert pid is not None

    await kept.keeper.stop()

    assert not is_alive(pid)
    assert kept.said[-1][0] is Event.KILLED


@pytest.mark.parametrize("kept", [SILENT], indirect=True)
async def test_a_process_that_never_gets_ready_is_named_with_its_log(kept: Kept) -> None:
    with pytest.raises(NotReadyError, match="part is not ready after 0 s") as caught:
        await kept.keeper.ready(0.1)

    assert "part.log" in str(caught.value.hint)


@pytest.mark.parametrize("kept", [READY], indirect=True)
async def test_lines_are_handed_on_and_all_but_counts_are_logged(kept: Kept, tmp_path: Path) -> None:
    handed_on = [await kept.lines.get() for _ in range(2)]
    await kept.keeper.stop()

    assert [line["event"] for line in handed_on] == ["ready", "counts"]
    assert (tmp_path / "part.log").read_text() == '{"event": "ready"}\nnot json\n'


async def test_a_child_sees_nothing_of_our_environment_but_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "for us alone")
    lines: asyncio.Queue[Line] = asyncio.Queue()
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    plan = ChildPlan("part", (sys.executable, "-c", code), tmp_path / "log", {"GIVEN": "to it"})
    keeper = Keeper(plan, lambda *_: None, lambda _, line: lines.put_nowait(line))

    keeper.start()
    seen = await lines.get()
    await keeper.stop()

    assert seen["GIVEN"] == "to it"
    assert "SOME_SECRET" not in seen


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    supervisor = f"""
import asyncio, pathlib, sys
from rekey_local.child import ChildPlan
from rekey_local.supervisor import Keeper

async def main():
    plan = ChildPlan("part", (sys.executable, "-c", {SILENT!r}), pathlib.Path({str(tmp_path / "log")!r}))
    keeper = Keeper(plan, lambda *_: None, lambda *_: None)
    keeper.start()
    while keeper.pid is None:
        await asyncio.sleep(0.01)
    print(keeper.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert is_alive(child)

        process.send_signal(signal.SIGKILL)
        process.wait()

    end = time.monotonic() + 30
    while is_alive(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
