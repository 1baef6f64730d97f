"""Who reads settings says the file, the field and the rule, and neither it nor its traceback quotes what is in there."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import rekey
from rekey.cli.context import load_context
from rekey_backup.settings import BusSettings, TokenSettings
from rekey_backup.settings import load as load_backup
from rekey_ceremony.settings import read_settings as load_ceremony
from rekey_core.errors import RekeyError
from rekey_enrolment.settings import load_settings as load_enrolment
from rekey_local.errors import LocalError
from rekey_local.layout import Layout
from rekey_local.plan import read_plan
from rekey_provision.settings import load as load_provision
from rekey_runtime.settings import ServiceSettings, load_settings

PIN = "8a1f-the-pin-of-a-token"
TOML = f'a-field-that-is-none = "{PIN}"\nenv = ["{PIN}"]\n'
JSON = f'{{"a-field-that-is-none": "{PIN}", "env": ["{PIN}"]}}'
READERS = [
    pytest.param(lambda file: load_settings(file, ServiceSettings), TOML, id="a service"),
    pytest.param(rekey.Settings.load, TOML, id="an application"),
    pytest.param(load_context, TOML, id="a person"),
    pytest.param(load_provision, TOML, id="the bus provisioner"),
    pytest.param(lambda file: load_backup(file, BusSettings), TOML, id="backups, on the bus"),
    pytest.param(lambda file: load_backup(file, TokenSettings), TOML, id="backups, at the token"),
    pytest.param(load_enrolment, TOML, id="enrolment"),
    pytest.param(load_ceremony, JSON, id="the ceremony"),
    pytest.param(lambda file: read_plan(Layout(file.parent)), JSON, id="the local stack"),
]


@pytest.mark.parametrize(("read", "text"), READERS)
def test_what_is_wrong_is_named_and_what_is_in_there_is_not(
    tmp_path: Path, read: Callable[[Path], object], text: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(
        (RekeyError, LocalError), match=r"plan\.json.*[a-z]: (field required|input should|extra inputs)"
    ) as refused:
        read(file)
    assert PIN not in f"{refused.value} {vars(refused.value)}"
    assert PIN not in "".join(traceback.format_exception(refused.value))
