"""What audit says of KEKs: counts of everything, names of what the person may see."""

from __future__ import annotations

import pytest

from rekey.cli.kek import exit_code, status_view
from rekey_audit import keks
from rekey_core.contracts import EndedEpoch, KekAnswer
from tests.unit.rekey_audit.a_log import ENV, START, Log
from tests.unit.rekey_audit.test_questions import read


def a_log() -> Log:
    """Two keys under epoch 1, one of them rotated under epoch 2, and a third whose first version is asked for."""
    log = Log()
    for key in ("orders-a", "orders-b", "orders-c"):
        log.registered(key)
    for key in ("orders-a", "orders-b"):
        log.generated(1, key)
        log.activated(1, key)
    log.requested(2, "orders-a")
    log.generated(2, "orders-a", epoch=2)
    return log


ASKED = [
    pytest.param(None, ["orders-a@1", "orders-b@1"], id="without an epoch: those before the newest"),
    pytest.param(1, ["orders-a@1", "orders-b@1", "orders-c@1"], id="the old one, and what may lie under it"),
    pytest.param(2, ["orders-a@2", "orders-c@1"], id="the newest one"),
    pytest.param(3, ["orders-c@1"], id="one that nothing lies under"),
]


@pytest.mark.parametrize(("epoch", "expected"), ASKED)
def test_what_hangs_under_the_epoch_that_is_asked_about(epoch: int | None, expected: list[str]) -> None:
    states = [record.state for record in read(a_log()).keys.values()]
    newest = keks.newest(keks.uses(states))
    assert newest == 2
    assert [lies.name for lies in keks.left(states, epoch, newest)] == expected


def test_uses_count_by_class_and_epoch() -> None:
    states = [record.state for record in read(a_log()).keys.values()]
    assert [(use.key_class, use.epoch, use.versions) for use in keks.uses(states)] == [
        ("application-data", None, 1),
        ("application-data", 1, 2),
        ("application-data", 2, 1),
    ]
    assert (keks.uses([]), keks.newest(()), keks.left([], None, None)) == ((), None, [])


def test_the_command_line_says_what_hangs_and_ends_with_5_until_nothing_does() -> None:
    states = [record.state for record in read(a_log()).keys.values()]
    found = keks.left(states, 1, 2)
    said = {"env": ENV, "person": "adam", "nonce": "0" * 32, "as_of": 1, "at": START, "newest": 2, "epoch": 1}
    names = tuple(keks.named(lies) for lies in found[:2])
    answer = KekAnswer.model_validate(
        said | {"uses": keks.uses(states), "hanging": len(found), "names": names}
    )
    ended = {"epoch": 1, "at": START, "log": 1, "officers": ("odile", "olga"), "reason": "roll-over"}
    line = status_view(answer.model_copy(update={"ended": (EndedEpoch.model_validate(ended),)})).lines[4 - 1]
    assert line.startswith("epoch 1 ended at 20")
    assert line.endswith("as odile and olga attest (roll-over)")
    view = status_view(answer)
    assert view.lines[1:3] == (
        "application-data, AES-256-GCM, trusted-recipient: 2 under epoch 1",
        "application-data, AES-256-GCM, trusted-recipient: 1 under epoch 2",
    )
    assert view.lines[3] == "3 hang under epoch 1, 1 of them not shown"
    assert view.cells[1] == ("orders-b", "1", "active", "1", "rekey key rotate orders-b")
    assert exit_code(answer) == 5
    assert exit_code(answer.model_copy(update={"hanging": 0, "names": ()})) == 0
