"""When a KEK epoch may end: it is closed, the log was read after that, and nothing lies under it, or may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rekey_ceremony.log import CompleteLog, read_log
from rekey_ceremony.retire import check_log
from rekey_core.bundles import End, Line
from rekey_core.errors import RekeyError, SchemaError, TrustError
from rekey_core.fold import KeyState
from tests.unit.facts import world
from tests.unit.world import NOW, World

CHALLENGE = "0" * 32
LATER = NOW + timedelta(days=400)


def gone() -> World:
    """Version 1 was under epoch 1 and is destroyed; 2 is under epoch 2 and current."""
    w = world(versions=1)
    w.generated(2, w.requested(2), epoch=2)
    w.activated(2)
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=LATER)
    assert w.state().voids == ()
    return w


def asked_for() -> World:
    w = gone()
    w.requested(3)
    return w


def undecidable() -> KeyState:
    state = gone().state()
    return replace(state, undecidable="a type that this program does not know")


def log(*states: KeyState, challenge: str = CHALLENGE) -> CompleteLog:
    return CompleteLog(states, challenge)


REFUSED = [
    pytest.param(lambda: log(gone().state()), "", "epoch 1 is not closed", id="the generator may still wrap"),
    pytest.param(
        lambda: log(gone().state(), challenge="1" * 32),
        CHALLENGE,
        "the log was not read after epoch 1 was closed",
        id="the log is older than the end of wrapping, or another epoch's",
    ),
    pytest.param(
        lambda: log(gone().state(), world(versions=1).state()),
        CHALLENGE,
        "1 lie under epoch 1, or may: orders-db@1",
        id="a version lies there",
    ),
    pytest.param(
        lambda: log(asked_for().state()),
        CHALLENGE,
        "1 lie under epoch 1, or may: orders-db@3",
        id="a version that is asked for may have a record",
    ),
    pytest.param(
        lambda: log(undecidable()), CHALLENGE, "orders-db, which cannot be decided", id="an undecidable key"
    ),
    pytest.param(log, CHALLENGE, "the log names no key", id="an empty log proves nothing"),
    pytest.param(
        lambda: log(world(versions=12).state()),
        CHALLENGE,
        "orders-db@10 and 2 more",
        id="many are named in part",
    ),
]


def test_an_epoch_may_end_when_nothing_lies_under_it() -> None:
    check_log(log(gone().state()), CHALLENGE, 1)


@pytest.mark.parametrize(("given", "challenge", "words"), REFUSED)
def test_an_epoch_may_not_end(given: Callable[[], CompleteLog], challenge: str, words: str) -> None:
    with pytest.raises(RekeyError, match=words) as caught:
        check_log(given(), challenge, 1)
    assert caught.value.code == "state-refused"
    assert caught.value.hint


MESSAGE = Line(stream="LIFECYCLE", subject="evt.dev.a", headers={}, data="", sequence=1, stored_at=NOW)
END = End(messages=1, challenge=CHALLENGE)
FILES = [
    pytest.param("", SchemaError, "expected messages and an end", id="an empty file"),
    pytest.param(MESSAGE.model_dump_json(), SchemaError, "expected messages and an end", id="no end"),
    pytest.param(END.model_dump_json(), SchemaError, "expected 1 messages, found 0", id="cut short"),
    pytest.param(
        f"{MESSAGE.model_dump_json()}\n{END.model_dump_json()}",
        TrustError,
        "no trust document",
        id="no trust",
    ),
]


@pytest.mark.parametrize(("text", "error", "words"), FILES)
def test_a_file_that_is_no_complete_log_is_refused(
    text: str, error: type[RekeyError], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    file.write_text(text)
    with pytest.raises(error, match=words):
        read_log(file, "0" * 64, "dev")
