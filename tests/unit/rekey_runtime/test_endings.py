"""What a service ends with: its supervisor starts it again, unless it would try a PIN again."""

from __future__ import annotations

import pytest

from rekey_core.errors import ConfigurationError, HsmError, PinError, RekeyError
from rekey_runtime.service import exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(ConfigurationError("streams differ"), 70, id="settings or streams"),
        pytest.param(HsmError("no token"), 70, id="a token that is gone: it may come back"),
        pytest.param(PinError("wrong"), 77, id="a refused PIN: never again"),
    ],
)
def test_the_exit_code_of_an_ending(error: RekeyError, code: int) -> None:
    assert exit_code(error) == code
