"""``deploy/up`` as people start it: the story twice, one supervisor per state, nothing left behind.

Each process runs from its own environment, so what a service imports beyond its declared dependencies ends it here.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 240
ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = (str(ROOT / "deploy" / "up"),)
REKEY = str(ROOT / ".rekey" / "env" / "stack" / "bin" / "rekey")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The state directory and the screen of a first run; before its end a responder stops both keys by hand."""
    state = tmp_path_factory.mktemp("story")
    with started(state) as process:
        screen = await_line(process, "everything stays up until Ctrl-C")
        suspend(state, "token-signer")  # the whole key
        suspend(state, "orders-db@2")  # its current version
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        screen += process.stdout.read()
    assert process.returncode == 0, screen
    return state, screen


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another state directory, which whoever comes first founds: what is judged there ends before the story does."""
    return tmp_path_factory.mktemp("founded")


def test_the_story_from_nothing_has_no_failed_call(told: tuple[Path, str]) -> None:
    _, screen = told

    calls, failed = counts(screen)
    assert (calls > 1000, failed) == (True, 0), screen
    assert "orders-db has rotated to version 2" in screen
    for key in ("webhook-mac", "token-signer", "envelope-root"):
        assert f"{key} has rotated to version 2" in screen
    assert "rita suspended orders-db@1: every instance refuses it" in screen
    assert screen.count("after the command was signed") == 4
    assert len(re.findall(r"local and \d+ remote calls/s, decrypted [1-9]\d* .* verified [1-9]", screen)) == 4
    assert re.search(r"orders-db@2: generated \d+ ms, activated \d+ ms, deactivated \d+ ms", screen)
    assert re.search(
        r"orders-3 was cut off from the bus\n.* worked on for (?!0\.0)\d\.\d s, until its lease ended",
        screen,
    )
    assert re.search(r"orders-db: the lease ran out at \S+Z: .*bus.*\n.*hint: check that bus", screen)
    assert re.search(r"works again \d+ ms after the bus was there again, by itself", screen)
    assert re.search(r"the other instances meanwhile: [1-9]\d+ calls, 0 failed", screen)
    assert len(re.findall(r"quota of orders-db@2: 32,768 messages granted, [1-9][\d,]* used", screen)) == 4
    assert re.search(r"v1 +suspended +revocation +on the word of rita", screen)
    assert "backups are proved: oliver and olga ordered a drill, olga and odile attest it" in screen
    restored = r"6 of 6 versions came into fresh tokens .* the data key of a document of before the rotation opens there"
    assert re.search(restored, screen)
    assert re.search(r"2 versions have no backup, .*; recorded by audit, expires on \d{4}-\d\d-\d\d", screen)
    assert not list((told[0] / "backup" / "drill").glob("sandbox*")), "the copy of the offline token is gone"


def test_on_warm_state_registration_is_skipped_and_the_keys_rotate_again_whatever_was_stopped(
    told: tuple[Path, str],
) -> None:
    state, _ = told

    screen = tell(state)

    assert "the keys are registered from an earlier run" in screen
    assert "token-signer was stopped in an earlier run" in screen
    assert "token-signer has rotated to version 3" in screen
    assert "orders-db has rotated to version 4" in screen
    assert "rita suspended orders-db@3: every instance refuses it" in screen
    assert "backups are proved: oliver and olga ordered a drill" in screen
    assert "try next, while deploy/up runs, in another terminal:" in screen
    assert counts(screen)[1] == 0


def test_no_secret_is_on_the_screen_or_in_a_log(told: tuple[Path, str]) -> None:
    state, screen = told
    secrets = [path.read_text().strip() for path in state.rglob("pin")]
    secrets += [path.read_text().strip() for path in state.rglob("*so-pin")]
    secrets.append((state / "bus" / "store.key").read_text().strip())
    said = screen + "".join(path.read_text() for path in (state / "logs").iterdir())

    assert len(secrets) == 6  # PINs of users and officers, and the key of the streams
    assert not [secret for secret in secrets if secret in said]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C drains and stops everything"),
        pytest.param(signal.SIGKILL, -9, id="kill -9 of the supervisor takes everything with it"),
    ],
)
def test_nothing_is_left_behind(founded: Path, number: signal.Signals, code: int) -> None:
    with started(founded) as process:
        await_line(process, "ready after")
        children = children_of(process.pid)
        assert len(children) >= 6, "bus and services"

        process.send_signal(number)
        assert process.wait(LIMIT_S) == code

    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and [pid for pid in children if is_alive(pid)]:
        time.sleep(0.02)
    assert [pid for pid in children if is_alive(pid)] == []


def test_a_second_supervisor_of_the_same_state_is_refused_and_the_first_goes_on(founded: Path) -> None:
    with started(founded) as process:
        await_line(process, "rekey on this machine")

        second = subprocess.run(
            [*COMMAND, "--fresh", "--state", str(founded)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

        assert second.returncode == 1
        assert f"is in use by process {process.pid}" in second.stdout
        await_line(process, "ready after")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 130


def tell(state: Path) -> str:
    """Run the story once; its screen."""
    done = subprocess.run(
        [*COMMAND, "--once", "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def suspend(state: Path, target: str) -> None:
    """Rita suspends it, by the program and with the context that the screen names."""
    context = state / "people" / "rita" / "context.toml"
    command = [REKEY, "suspend", target, "--reason", "a test", "--yes", "--context", str(context)]
    subprocess.run(command, check=True, timeout=LIMIT_S)


@contextlib.contextmanager
def started(state: Path) -> Iterator[subprocess.Popen[str]]:
    """It runs; killed when the test fails, which else would wait for its end for ever."""
    command = [*COMMAND, "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def await_line(process: subprocess.Popen[str], words: str) -> str:
    """Read the screen until it says this; all that it said."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return "".join(seen)
    pytest.fail(f"it ended without saying {words!r}: {''.join(seen)}")


def counts(screen: str) -> tuple[int, int]:
    """Calls and failed ones, as the last line has them."""
    calls, failed = re.findall(r"(\d+) calls, (\d+) failed", screen)[-1]
    return int(calls), int(failed)


def children_of(pid: int) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
