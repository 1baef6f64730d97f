"""What a dependent may have and do: grant, state, purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rekey_core.confirmation import PROBE_PREFIX
from rekey_core.errors import (
    NotFoundError,
    NotGrantedError,
    NotInstalledError,
    RekeyError,
    RetryableError,
    StateRefusedError,
    UndecidableKeyError,
    UsageRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.uses import Operation
from rekey_distributor import granting
from tests.unit.facts import world
from tests.unit.rekey_distributor.key_states import (
    compromised,
    current,
    deactivated,
    destroyed,
    scheduled,
    suspended,
    undecidable,
)
from tests.unit.world import World

NONE: frozenset[int] = frozenset()
MESSAGE = b"eyJhbGciOiJFUzI1NiJ9.e30"


RELEASED = [
    pytest.param(current, id="an active version"),
    pytest.param(deactivated, id="a deactivated version, to process with"),
    pytest.param(scheduled, id="a version that is to be destroyed, until it is"),
]


@pytest.mark.parametrize("state_of", RELEASED)
def test_what_is_released(state_of: Callable[[World], KeyState]) -> None:
    granting.check_release(state_of(world(versions=1)), "orders", 1, NONE)


def test_a_version_is_released_before_it_is_activated() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    granting.check_release(w.state(), "orders", 2, NONE)


@pytest.mark.parametrize(
    ("state_of", "dependent", "version", "denied", "error", "words"),
    [
        pytest.param(current, "shop", 1, NONE, NotGrantedError, "not granted to shop", id="no grant"),
        pytest.param(
            undecidable,
            "orders",
            1,
            NONE,
            UndecidableKeyError,
            "orders-db: type v2",
            id="a key that this program does not understand",
        ),
        pytest.param(current, "orders", 2, NONE, NotFoundError, "@2 is not generated", id="no such version"),
        pytest.param(
            suspended, "orders", 1, NONE, StateRefusedError, "@1 is suspended", id="a suspended version"
        ),
        pytest.param(
            compromised, "orders", 1, NONE, StateRefusedError, "@1 is compromised", id="a compromised version"
        ),
        pytest.param(
            destroyed, "orders", 1, NONE, StateRefusedError, "@1 is destroyed", id="a destroyed version"
        ),
        pytest.param(
            current,
            "orders",
            1,
            frozenset({1}),
            StateRefusedError,
            "responder's command",
            id="the emergency lane says no",
        ),
    ],
)
def test_what_is_not_released(
    state_of: Callable[[World], KeyState],
    dependent: str,
    version: int,
    denied: frozenset[int],
    error: type[RekeyError],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        granting.check_release(state_of(world(versions=1)), dependent, version, denied)


def test_a_key_that_nobody_registered_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="orders-db is not registered"):
        granting.check_release(World().state(), "orders", 1, NONE)


def signing(versions: int = 1) -> World:
    return world(versions=versions, release="never")


IN_HSM = [  # class, what its keys do inside the HSM
    ("token-signing", {Operation.SIGN}),
    ("token-signing-es384", {Operation.SIGN}),
    ("data-key-wrapping", {Operation.ENCRYPT, Operation.DECRYPT}),
    ("message-auth-hsm", {Operation.MAC, Operation.VERIFY}),
    ("application-data", set()),
    ("message-auth", set()),
]


@pytest.mark.parametrize(("key_class", "operations"), IN_HSM)
@pytest.mark.parametrize("operation", Operation)
def test_a_key_does_inside_the_hsm_what_its_class_is_for_and_nothing_else(
    key_class: str, operations: set[Operation], operation: Operation
) -> None:
    state = world(versions=1, key_class=key_class).state()
    if operation in operations:
        granting.check_use(state, "orders", 1, operation, NONE)
        return
    with pytest.raises(UsageRefusedError) as caught:
        granting.check_use(state, "orders", 1, operation, NONE)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("use ")


def ahead(w: World) -> KeyState:
    w.generated(2, w.requested(2))
    return w.state()


STATES = [  # the state of the version, how the key comes to it, which version; who may
    pytest.param(current, 1, {Operation.ENCRYPT, Operation.DECRYPT}, id="active"),
    pytest.param(deactivated, 1, {Operation.DECRYPT}, id="deactivated"),
    pytest.param(suspended, 1, set(), id="suspended"),
    pytest.param(compromised, 1, set(), id="compromised"),
    pytest.param(ahead, 2, set(), id="pre-activation"),
]


@pytest.mark.parametrize(("state_of", "version", "allowed"), STATES)
@pytest.mark.parametrize("operation", [Operation.ENCRYPT, Operation.DECRYPT])
def test_an_active_version_protects_and_a_deactivated_one_still_processes(
    state_of: Callable[[World], KeyState], version: int, allowed: set[Operation], operation: Operation
) -> None:
    state = state_of(world(versions=1, key_class="data-key-wrapping"))
    if operation in allowed:
        granting.check_use(state, "orders", version, operation, NONE)
        with pytest.raises(StateRefusedError, match="responder's command"):
            granting.check_use(state, "orders", version, operation, frozenset({version}))
        with pytest.raises(NotGrantedError):
            granting.check_use(state, "shop", version, operation, NONE)
        return
    with pytest.raises(StateRefusedError):
        granting.check_use(state, "orders", version, operation, NONE)


@pytest.mark.parametrize("state_of", [pytest.param(deactivated, id="deactivated"), suspended])
def test_a_version_that_is_not_active_does_not_sign(state_of: Callable[[World], KeyState]) -> None:
    with pytest.raises(StateRefusedError):
        granting.check_use(state_of(signing()), "orders", 1, Operation.SIGN, NONE)


def test_a_message_that_looks_like_a_probe_is_not_signed() -> None:
    granting.check_message(signing().state(), 1, MESSAGE)
    with pytest.raises(UsageRefusedError, match="looks like a probe"):
        granting.check_message(signing().state(), 1, PROBE_PREFIX + b"...")


def test_a_version_in_pre_activation_is_probed_but_does_not_sign() -> None:
    w = signing()
    w.generated(2, w.requested(2))
    granting.check_probe(w.state(), "orders", 2, "installed", NONE)
    with pytest.raises(StateRefusedError, match="sign needs state active, found pre-activation"):
        granting.check_use(w.state(), "orders", 2, Operation.SIGN, NONE)
    with pytest.raises(RetryableError, match="not current"):
        granting.check_probe(w.state(), "orders", 2, "switched", NONE)


def test_each_release_kind_has_its_own_way() -> None:
    with pytest.raises(UsageRefusedError, match="does not leave the HSM") as caught:
        granting.check_release(signing().state(), "orders", 1, NONE)
    assert caught.value.hint == "use signer()"
    with pytest.raises(UsageRefusedError, match="not used inside the HSM") as caught:
        granting.check_use(world(versions=1).state(), "orders", 1, Operation.SIGN, NONE)
    assert caught.value.hint == "use keyring()"


def test_who_protects_with_a_deactivated_version_gets_one_lease_to_go_over_and_no_second() -> None:
    w = world(versions=1)
    w.version(2)
    before = w.log[-1].sequence
    granting.check_protects(w.state(), 1, before)
    w.deactivated(1)
    state, at = w.state(), w.log[-1].sequence
    granting.check_protects(state, 1, before)
    for protects in (2, None, 9):
        granting.check_protects(state, protects, at)
    with pytest.raises(
        NotInstalledError, match="orders-db@1 is deactivated, expected to protect with version 2"
    ):
        granting.check_protects(state, 1, at)


def test_and_one_more_for_each_version_that_became_current_since_for_that_one_it_has_no_messages() -> None:
    w = world(versions=1)
    w.version(2)
    w.deactivated(1)
    before = w.log[-1].sequence
    w.version(3)
    state, at = w.state(), w.log[-1].sequence
    granting.check_protects(state, 1, before)
    with pytest.raises(NotInstalledError, match="expected to protect with version 3"):
        granting.check_protects(state, 1, at)
