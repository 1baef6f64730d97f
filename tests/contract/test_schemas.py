"""Every message as a JSON Schema under schemas/: a change of a message shows up in review as a change of a file.

``python tests/contract/test_schemas.py --write`` writes them anew. A message that is signed has no optional future:
readers refuse what they do not know, so another shape is another major version of the type (contracts/base.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import pytest

from rekey_core import contracts
from rekey_core.contracts import Ask, Endorsement, Model, Signed, SignedCommand, SignedTrust

SCHEMAS: Final = Path(__file__).parent / "schemas"
AGAIN: Final = "python tests/contract/test_schemas.py --write"
UNTYPED: Final[dict[str, type[Model]]] = {
    "rekey.ask.v1": Ask,
    "rekey.endorsement.v1": Endorsement,
    "rekey.signed.v1": Signed,
    "rekey.signed-command.v1": SignedCommand,
    "rekey.signed-trust.v1": SignedTrust,
}  # on the wire without a type of their own; a file name for each


def _all_models(base: type[Model] = Model) -> Iterator[type[Model]]:
    for model in base.__subclasses__():
        yield model
        yield from _all_models(model)


def _type_of(model: type[Model]) -> str | None:
    field = model.model_fields.get("type")
    values = get_args(field.annotation) if field else ()
    return values[0] if values else None


def schemas() -> dict[str, str]:
    """File name: what must stand in it."""
    named: dict[str, type[Model]] = UNTYPED | {
        name: m
        for m in _all_models()
        if m.__module__.startswith(contracts.__name__) and (name := _type_of(m)) is not None
    }
    return {f"{name}.json": _text(model) for name, model in sorted(named.items())}


def _text(model: type[Model]) -> str:
    return json.dumps(model.model_json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_there_is_a_file_for_every_message_and_for_nothing_else() -> None:
    assert sorted(f.name for f in SCHEMAS.iterdir()) == sorted(schemas()), AGAIN


@pytest.mark.parametrize("name", schemas())
def test_a_message_is_what_its_schema_says(name: str) -> None:
    assert (SCHEMAS / name).read_text() == schemas()[name], f"if the change is meant: {AGAIN}"


@pytest.mark.parametrize("name", schemas())
def test_nothing_unknown_is_let_into_a_message(name: str) -> None:
    schema = json.loads(schemas()[name])
    inside = [schema, *schema.get("$defs", {}).values()]
    objects = [part for part in inside if part.get("type") == "object"]
    assert objects
    assert [part["title"] for part in objects if part.get("additionalProperties") is not False] == []


def test_no_two_messages_have_one_type() -> None:
    types = [name for m in _all_models() if (name := _type_of(m)) is not None]
    assert len(types) == len(set(types))


def test_every_type_names_its_major_version() -> None:
    assert [name for name in schemas() if not name.startswith("rekey.") or ".v" not in name] == []


def main(arguments: list[str]) -> int:
    """Write what the models say now."""
    if arguments != ["--write"]:
        sys.stderr.write(f"usage: {AGAIN}\n")
        return 2
    wanted = schemas()
    for stale in {f.name for f in SCHEMAS.iterdir()} - set(wanted):
        (SCHEMAS / stale).unlink()
    for name, text in wanted.items():
        (SCHEMAS / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
