"""One table gives every error its exit code; a new error without a row is seen here."""

from __future__ import annotations

import inspect

import pytest

from rekey.cli import errors as cli_errors
from rekey.cli.errors import EXITS, AnsweredError, Exit, exit_of, hint_of
from rekey_core import errors as core_errors
from rekey_core.errors import RekeyError


def leaves() -> list[type[RekeyError]]:
    """Every error that the command line may meet."""
    found = {
        error
        for module in (core_errors, cli_errors)
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, RekeyError) and error not in {RekeyError, AnsweredError}
    }
    return sorted(found, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", leaves(), ids=lambda error: f"{error.__name__} has a row")
def test_every_error_has_an_exit_code(error: type[RekeyError]) -> None:
    assert error("x").code in EXITS


@pytest.mark.parametrize("error", leaves(), ids=lambda error: f"{error.__name__} has a next step")
def test_every_error_says_what_to_do_next(error: type[RekeyError]) -> None:
    assert "rekey " in hint_of(error("x"))
    assert hint_of(error("x", hint="its own word")) == "its own word"


CODES = [
    pytest.param("usage", 2, id="usage"),
    pytest.param("not-found", 3, id="not found"),
    pytest.param("not-in-scope", 4, id="another owner's key is denied by policy"),
    pytest.param("authority", 4, id="a person without the role is denied by policy"),
    pytest.param("policy", 4, id="a cryptoperiod that is too long is denied by policy"),
    pytest.param("already-exists", 5, id="a name that is taken is a precondition"),
    pytest.param("state-refused", 5, id="a state that forbids it is a precondition"),
    pytest.param("incomplete", 6, id="accepted and not complete"),
    pytest.param("unavailable", 7, id="a bus that is down"),
    pytest.param("unknown-outcome", 7, id="a bus that did not answer"),
    pytest.param("signature", 8, id="a signature that is wrong"),
    pytest.param("trust", 8, id="trust that does not chain"),
    pytest.param("a-code-of-a-later-version", 1, id="a code that this version does not know"),
]


@pytest.mark.parametrize(("code", "exit_code"), CODES)
def test_the_exit_codes_stay_what_they_are(code: str, exit_code: int) -> None:
    assert exit_of(AnsweredError(code, "no")) == exit_code


def test_the_numbers_are_the_documented_ones() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]
