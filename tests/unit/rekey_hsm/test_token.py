"""What becomes of the module's errors, and how a token gets over losing its handles and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import exceptions as p11

from rekey_core.errors import HsmError, RekeyError, UnavailableError
from rekey_core.names import Algorithm
from rekey_hsm import DistributorHsm, GeneratorHsm, TokenSettings
from rekey_hsm.profile import SOFTHSM_2_6, require_profile
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token
from tests.hsm_tokens import EC_KEK, MAC_KEY, MODULE, SECRET_KEK, Tokens


class Failing:
    """An operation that fails with these errors, one per call, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.fixture
async def token(tokens: Tokens) -> AsyncIterator[Token]:
    opened = await on_hsm_thread(lambda: Token.open(tokens.generator))
    yield opened
    await on_hsm_thread(opened.close)


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        pytest.param(p11.DeviceRemoved, HsmError, id="a removed device ends the process"),
        pytest.param(p11.DeviceError, HsmError, id="a device error ends the process"),
        pytest.param(p11.TokenNotPresent, HsmError, id="an absent token ends the process"),
        pytest.param(
            p11.TemplateInconsistent, HsmError, id="a template that no longer fits ends the process"
        ),
        pytest.param(p11.DeviceMemory, UnavailableError, id="a full device may have room later"),
        pytest.param(p11.SessionCount, UnavailableError, id="too many sessions may become fewer"),
        pytest.param(p11.GeneralError, UnavailableError, id="one general error may pass"),
    ],
)
async def test_an_error_is_one_of_ours(
    token: Token, error: type[Exception], becomes: type[RekeyError]
) -> None:
    failing = Failing(error())
    with pytest.raises(becomes, match=f"{error.__name__} while testing"):
        await on_hsm_thread(lambda: token.guard("testing", failing))
    assert failing.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        p11.ObjectHandleInvalid,
        p11.KeyHandleInvalid,
        p11.WrappingKeyHandleInvalid,
        p11.UnwrappingKeyHandleInvalid,
    ],
)
async def test_an_invalid_handle_is_looked_up_again_once(token: Token, error: type[Exception]) -> None:
    forgotten: list[str] = []
    token.on_new_handles(lambda: forgotten.append("handles"))
    failing = Failing(error())
    assert await on_hsm_thread(lambda: token.guard("testing", failing)) == "done"
    assert (failing.calls, forgotten) == (2, ["handles"])
    twice = Failing(error(), error())
    with pytest.raises(HsmError, match="again while testing"):
        await on_hsm_thread(lambda: token.guard("testing", twice))
    assert twice.calls == 2


async def test_the_second_general_error_in_succession_ends_the_process(token: Token) -> None:
    def attempt(operation: Callable[[], str]) -> Callable[[], str]:
        return lambda: token.guard("testing", operation)

    for kind in (UnavailableError, HsmError):
        with pytest.raises(kind):
            await on_hsm_thread(attempt(Failing(p11.GeneralError())))
    await on_hsm_thread(attempt(Failing()))  # a success in between starts the count again
    with pytest.raises(UnavailableError):
        await on_hsm_thread(attempt(Failing(p11.GeneralError())))


async def test_a_module_that_forgot_everything_is_logged_in_to_again(tokens: Tokens) -> None:
    generator = await GeneratorHsm.open(tokens.generator)
    distributor = await DistributorHsm.open(tokens.distributor)
    pair = await generator.make_key_pair(EC_KEK, Algorithm.EC_P256)
    await distributor.sign(EC_KEK, pair.blob, Algorithm.EC_P256, b"before")
    await on_hsm_thread(lambda: pkcs11.lib(str(MODULE)).reinitialize())
    mac = await generator.record_mac(MAC_KEY, b"after")
    await distributor.verify_record_mac(MAC_KEY, b"after", mac)
    assert len(await distributor.sign(EC_KEK, pair.blob, Algorithm.EC_P256, b"after")) == 64
    await generator.prove()
    await distributor.prove()
    await generator.close()
    await distributor.close()


async def test_many_callers_share_the_one_thread(generator_hsm: GeneratorHsm) -> None:
    made = await asyncio.gather(
        *(generator_hsm.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"c") for _ in range(200))
    )
    assert len({secret.blob for secret in made}) == 200


async def test_a_missing_module_is_an_error_of_ours(tokens: Tokens) -> None:
    absent = replace(tokens.generator, module=Path("/nowhere/module.so"))
    with pytest.raises(HsmError, match="cannot be loaded"):
        await GeneratorHsm.open(absent)


def test_a_module_without_a_profile_is_refused() -> None:
    assert require_profile("SoftHSM", (2, 6)) is SOFTHSM_2_6
    for manufacturer, version in (("SoftHSM", (2, 7)), ("Another", (2, 6))):
        with pytest.raises(HsmError, match=r"expected one of softhsm-2\.6"):
            require_profile(manufacturer, version)


def test_settings_do_not_print_the_pin(tokens: Tokens) -> None:
    settings: TokenSettings = tokens.generator
    assert settings.pin.reveal().decode() not in repr(settings)
