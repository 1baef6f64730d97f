"""What is wrong is said by field and rule, and never by the value, which may be a secret."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rekey_core.commands import read_command
from rekey_core.contracts import Activated, RestoreOrder, Signed, SignedCommand, SignedTrust
from rekey_core.encoding import b64u_encode, sha256_hex
from rekey_core.envelope import parse, read_signed
from rekey_core.errors import ConfigurationError, RekeyError
from rekey_core.names import Role
from rekey_core.officers import _parsed
from rekey_core.trust import Trust
from rekey_core.validation import settings_in, what_is_wrong

PIN = "8a1f-pin"  # short: the text of an error cuts long values


class _Left(BaseModel):
    kind: Literal["left"]
    n: int


class _Right(BaseModel):
    kind: Literal["right"]


class _Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern="^[A-Z]+$")] = "A"
    role: Role = Role.OWNER
    at: datetime | None = None
    id: UUID | None = None
    some: tuple[int, ...] = ()
    by_name: dict[str, int] = {}
    part: Annotated[_Left | _Right, Field(discriminator="kind")]


PART = '"part": {"kind": "right"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{}", "part: field required", id="a field is missing"),
        pytest.param(
            f'{{{PART}, "name": "{PIN}"}}', "name: string should match pattern '^[A-Z]+$'", id="a rule"
        ),
        pytest.param(
            f'{{{PART}, "role": "{PIN}"}}',
            "role: input should be 'owner', 'responder', 'auditor' or 'trust-officer'",
            id="one of a few",
        ),
        pytest.param(
            f'{{{PART}, "at": "{PIN}"}}', "at: input should be a valid datetime or date, ", id="a time"
        ),
        pytest.param(
            f'{{{PART}, "id": ["{PIN}"]}}', "id: UUID input should", id="a rule that begins with an acronym"
        ),
        pytest.param(
            f'{{{PART}, "colour": "{PIN}"}}', "colour: extra inputs are not", id="a field that is none"
        ),
        pytest.param(
            f'{{{PART}, "some": [1, "{PIN}"]}}', "some.1: input should be a valid integer", id="in a list"
        ),
        pytest.param(
            f'{{{PART}, "by_name": {{"a": "{PIN}"}}}}',
            "by_name.a: input should be a valid integer",
            id="by a name",
        ),
        pytest.param(
            f'{{"part": {{"kind": "{PIN}"}}}}',
            "part.kind: input should be one of 'left', 'right'",
            id="a kind",
        ),
        pytest.param(
            f'{{"part": {{"kind": "left", "n": "{PIN}"}}}}',
            "part.left.n: input should",
            id="a field of a kind",
        ),
        pytest.param('{"part": {}}', "part: unable to extract tag using discriminator 'kind'", id="no kind"),
        pytest.param(f'["{PIN}"]', "input should be an object", id="no object"),
        pytest.param(PIN, "invalid JSON: ", id="no JSON"),
    ],
)
def test_the_field_and_the_rule_are_named_and_the_value_is_not(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        _Whole.model_validate_json(text)
    found = what_is_wrong(refused.value)
    assert found.startswith(said)
    assert PIN not in found


BAD = f'{{"id": ["{PIN}"], "env": ["{PIN}"]}}'.encode()


@pytest.mark.parametrize(
    ("read", "said"),
    [
        pytest.param(
            lambda: parse(BAD, Activated.TYPE, (Activated,), where="evt.x"),
            "evt.x: id: UUID input",
            id="a fact",
        ),
        pytest.param(
            lambda: read_command(SignedCommand(payload=b64u_encode(BAD), sshsig="")),
            "command: unable",
            id="a command",
        ),
        pytest.param(
            lambda: Trust.from_chain(
                [SignedTrust(payload=b64u_encode(BAD), signatures=())], genesis=sha256_hex(BAD), env="dev"
            ),
            "trust document: env: input",
            id="a trust document",
        ),
        pytest.param(
            lambda: read_signed(BAD, Signed, where="lease"), "lease: expected a signed", id="a signed message"
        ),
        pytest.param(
            lambda: _parsed(BAD, RestoreOrder), "expected a RestoreOrder", id="a document of officers"
        ),
    ],
)
def test_a_traceback_does_not_quote_it_either(read: Callable[[], object], said: str) -> None:
    with pytest.raises(RekeyError, match=said) as refused:
        read()
    assert PIN not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "here: part: field required", id="nothing"),
        pytest.param(
            b"part = {kind = 'right'}\ncolour = 1", "here: colour: extra inputs", id="another file's"
        ),
        pytest.param(b"part", "here: Expected '='", id="no TOML"),
        pytest.param(b"\xff", "here: 'utf-8' codec can't decode", id="no text"),
    ],
)
def test_settings_that_are_none_are_told_with_where_they_are_and_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        settings_in(data, _Whole, where="here", hint="take another file")
    assert refused.value.hint == "take another file"


def test_settings_are_read() -> None:
    assert settings_in(b"part = {kind = 'right'}\nname = 'B'\n", _Whole, where="here").name == "B"
