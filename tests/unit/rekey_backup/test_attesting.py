"""What audit's word comes to, what a drill attests, and that no half of a file is left for anybody to go on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rekey_backup import actions
from rekey_backup.attesting import Given, became
from rekey_backup.catalogue import Catalogue
from rekey_backup.drill import Drilled
from rekey_backup.lines import write_lines, write_whole
from rekey_core.bundles import End
from rekey_core.contracts import AttestationAnswer, DrillOrder
from rekey_core.restoring import order_id
from tests.unit.facts import BASE
from tests.unit.orders import HOUR, signed
from tests.unit.world import ENV, NOW

END = End(messages=1, challenge="0" * 32)


@pytest.mark.parametrize(
    ("said", "given"),
    [
        pytest.param({}, Given(), id="it is on record"),
        pytest.param(
            {"code": "authority", "message": "one officer", "hint": "another signs"},
            Given("authority: one officer; another signs", is_refused=True),
            id="it is refused, which is the last word",
        ),
        pytest.param(
            {"code": "unavailable", "message": "not read yet", "retry": True},
            Given("unavailable: not read yet"),
            id="it is not decided",
        ),
    ],
)
def test_an_answer_is_the_last_word_unless_it_says_otherwise(said: dict[str, Any], given: Given) -> None:
    answer = AttestationAnswer.model_validate({"env": ENV, "attestation": "0" * 64} | said)
    assert became(answer) == given


def test_a_drill_names_the_order_that_was_verified_whatever_lies_in_its_place_since() -> None:
    order = DrillOrder(env=ENV, nonce="0" * 32, reason="x", issued_at=NOW, expires_at=NOW + HOUR)
    verified = signed(BASE, order, "olga", "odile")
    nothing = Catalogue((), 0, 0, (), (), 0)
    found = actions._attestation(ENV, verified, nothing, Drilled(()), 0)  # noqa: SLF001 - a token would be needed
    assert found.order == order_id(verified)
    assert not found.is_passed


def _dying() -> Iterator[End]:
    yield END
    raise KeyboardInterrupt


def test_a_program_that_dies_while_it_writes_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "bundle"
    write_lines(file, [END, END])
    with pytest.raises(KeyboardInterrupt):
        write_lines(file, _dying())
    assert file.read_text() == f"{END.model_dump_json()}\n" * 2
    write_whole(file, b"other")
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (b"other", [file])
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "no" / "order", b"")
    assert caught.value.filename == str(tmp_path / "no" / "order")
