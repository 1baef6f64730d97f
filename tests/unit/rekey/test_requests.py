from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rekey import retry
from rekey.beliefs import Stopped
from rekey.errors import (
    ConfigurationError,
    NotGrantedError,
    RefusedError,
    RekeyError,
    StateRefusedError,
    UnavailableError,
    VersionSuspendedError,
    refusal_error,
)
from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.settings import Settings
from rekey.signer import Signer
from rekey_core.contracts import Answer, KeyRefusal, LeasedKey
from rekey_core.names import Service
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, NOW, World

W = World()
TOKEN = "token-signer"


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    return instance


async def test_material_comes_sealed(me: Instance) -> None:
    answer = await me.requests.material(KEY, [1, 2])
    assert [released.version for released in answer.releases] == [1, 2]


async def test_material_in_clear_is_not_taken(me: Instance) -> None:
    me.desk.sealed = False
    with pytest.raises(UnavailableError, match="cannot be believed"):
        await me.requests.material(KEY, [1])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"nonce": "f" * 32}, id="an answer to another request"),
        pytest.param({"instance": "f" * 32}, id="an answer to another instance"),
        pytest.param({"dependent": "billing"}, id="an answer to another dependent"),
        pytest.param({"env": "prod"}, id="an answer of another environment"),
        pytest.param({"key": "billing-db"}, id="another key"),
        pytest.param({"releases": ()}, id="without the version that was asked for"),
    ],
)
async def test_an_answer_to_something_else_is_as_good_as_none(
    me: Instance, change: dict[str, object]
) -> None:
    me.desk.forge = lambda answer: answer.model_copy(update=change)
    with pytest.raises(UnavailableError):
        await me.requests.material(KEY, [1])


@pytest.mark.parametrize("by", [service for service in Service if service is not Service.DISTRIBUTOR])
async def test_an_answer_by_anybody_but_the_distributor_is_as_good_as_none(me: Instance, by: Service) -> None:
    me.desk.signer = by
    with pytest.raises(UnavailableError, match="cannot be believed"):
        await me.requests.material(KEY, [1])
    with pytest.raises(UnavailableError, match="cannot be believed"):
        await me.requests.lease([KEY], await me.receipts.write())


async def test_every_try_has_a_nonce_and_a_sealing_key_of_its_own(me: Instance) -> None:
    for _ in range(2):
        await me.requests.material(KEY, [1])
    first, second = me.desk.requests
    assert first.nonce != second.nonce
    assert getattr(first, "seal_to", 1) != getattr(second, "seal_to", 1)


LEASED = LeasedKey(versions=(), as_of=1, lease_s=30)
REFUSED = KeyRefusal(code="not-granted", message="no", hint=None, retry=False)


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        pytest.param({"other": LEASED}, {}, id="another one is given"),
        pytest.param({KEY: LEASED, "other": LEASED}, {}, id="another one is given too"),
        pytest.param({}, {"other": REFUSED}, id="another one is refused"),
        pytest.param({KEY: LEASED}, {"other": REFUSED}, id="another one is refused too"),
        pytest.param({KEY: LEASED}, {KEY: REFUSED}, id="it is given and refused"),
        pytest.param({}, {}, id="neither"),
    ],
)
async def test_a_lease_that_is_not_about_exactly_the_keys_asked_for_is_not_taken(
    me: Instance, keys: dict[str, LeasedKey], refused: dict[str, KeyRefusal]
) -> None:
    me.desk.forge = lambda answer: answer.model_copy(update={"keys": keys, "refused": refused})
    with pytest.raises(UnavailableError, match="other keys"):
        await me.requests.lease([KEY], await me.receipts.write())


async def test_a_refusal_is_raised_as_what_it_says(me: Instance) -> None:
    me.desk.refuse = lambda _: NotGrantedError(
        "key orders-db is not granted to orders", hint="ask its owner alice"
    )
    with pytest.raises(NotGrantedError, match="not granted") as caught:
        await me.requests.material(KEY, [1])
    assert caught.value.hint == "ask its owner alice"


@pytest.mark.parametrize(
    ("code", "again", "error"),
    [
        ("not-granted", False, NotGrantedError),
        ("state-refused", False, StateRefusedError),
        ("not-yet", True, UnavailableError),
        ("hsm", False, UnavailableError),
        ("something-new", False, RefusedError),
    ],
)
def test_codes(code: str, again: bool, error: type[RekeyError]) -> None:  # noqa: FBT001 - a column of the table
    found = refusal_error(code, "text", "hint", retry=again)
    assert type(found) is error
    assert (str(found).endswith("text"), found.hint) == (True, "hint")


def signer(me: Instance, look_again: Callable[[], None], total_s: float = 0.3) -> tuple[Signer, KeyState]:
    key = KeyState(TOKEN)
    key.install(W.remote_version(1))
    key.switch(1)
    lease = LeaseClock(lambda: 0.0)
    lease.extend(0.0, 30)
    return Signer(key, lease, me.requests, total_s, look_again), key


async def test_a_token_is_signed_by_request_and_verified_here(me: Instance) -> None:
    one, key = signer(me, lambda: None)
    assert one.verify_jwt(await one.sign_jwt({"sub": "alice"})) == {"sub": "alice"}
    assert key.held[1].in_flight.is_empty


async def test_a_signature_by_another_key_is_not_given_out(me: Instance) -> None:
    one, _ = signer(me, lambda: None)
    wrong = {"signature": "A" * 86}
    me.desk.forge = lambda answer: answer.model_copy(update=wrong)
    with pytest.raises(UnavailableError, match="cannot be believed"):
        await one.sign_jwt({})


async def test_signing_is_tried_again_until_it_works(me: Instance) -> None:
    one, _ = signer(me, lambda: None, total_s=5)
    left = [3]

    def forge(answer: Answer) -> Answer:
        left[0] -= 1
        return answer.model_copy(update={"nonce": "f" * 32}) if left[0] > 0 else answer

    me.desk.forge = forge
    assert one.verify_jwt(await one.sign_jwt({"n": 1})) == {"n": 1}
    assert len(me.desk.requests) == 3


async def test_a_refusal_that_we_do_not_know_the_reason_of_makes_us_look_again(me: Instance) -> None:
    def look_again() -> None:
        key.stop({1: Stopped(TOKEN, 1, "suspended", "rita", "why", NOW)})

    one, key = signer(me, look_again, total_s=5)
    me.desk.refuse = lambda _: StateRefusedError("token-signer@1 is suspended")
    with pytest.raises(VersionSuspendedError, match="rita"):
        await one.sign_jwt({})
    assert len(me.desk.requests) == 1


async def test_a_refusal_by_rule_is_raised_at_once(me: Instance) -> None:
    one, _ = signer(me, lambda: None, total_s=5)
    me.desk.refuse = lambda _: NotGrantedError("no longer")
    with pytest.raises(NotGrantedError):
        await one.sign_jwt({})
    assert len(me.desk.requests) == 1


async def test_giving_up_says_what_after_how_long_and_why(me: Instance) -> None:
    one, _ = signer(me, lambda: None)
    me.desk.silent = True
    with pytest.raises(UnavailableError, match=r"key token-signer: gave up after 0\.3 s: nobody answers"):
        await one.sign_jwt({})


def test_pauses_grow_to_a_second() -> None:
    assert 0 < retry.pause_s(0) <= retry.FIRST_PAUSE_S
    assert all(0.5 <= retry.pause_s(failures) <= 1.0 for failures in (6, 60, 6000))


def test_settings_name_the_wrong_field_and_resolve_paths(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    numbers = ("try_s", "total_s", "longest_lease_s")
    fields = {name: "x" for name in Settings.model_fields if name not in numbers}
    fields |= {"trust_genesis": "0" * 64, "tls_ca": "/abs/ca.crt"}
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in fields.items()))
    settings = Settings.load(file)
    assert (settings.signing_key, settings.tls_ca) == (tmp_path / "x", Path("/abs/ca.crt"))
    for text, error in (("surprise = 1", "surprise"), ("total_s = 0", "total_s"), ("=", "settings")):
        file.write_text("".join(f'{name} = "{value}"\n' for name, value in fields.items()) + text)
        with pytest.raises(ConfigurationError, match=error):
            Settings.load(file)
    with pytest.raises(ConfigurationError):
        Settings.load(tmp_path / "missing.toml")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="can't decode"):
        Settings.load(file)
