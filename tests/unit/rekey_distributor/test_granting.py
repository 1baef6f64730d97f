"""What a dependent may have and do: grant, state, emergencies, purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest

from rekey_core.commands import command_id, read_command
from rekey_core.confirmation import PROBE_PREFIX
from rekey_core.contracts import (
    MAX_DESTROYED_NAMED,
    MAX_NOTICE_BYTES,
    Destroyed,
    StoppedVersion,
    Suspend,
    Suspended,
)
from rekey_core.envelope import Stored, sign
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
from rekey_core.names import Service
from rekey_core.uses import Operation
from rekey_core.versions import Versions
from rekey_distributor import granting, noticing
from rekey_distributor.emergencies import Emergencies
from tests.unit.facts import world
from tests.unit.world import NOW, World

NONE: frozenset[int] = frozenset()
MESSAGE = b"eyJhbGciOiJFUzI1NiJ9.e30"


def current(w: World) -> KeyState:
    return w.state()


def suspended(w: World) -> KeyState:
    w.suspended(1)
    return w.state()


def compromised(w: World) -> KeyState:
    w.compromised(1)
    return w.state()


def destroyed(w: World) -> KeyState:
    w.version(2)
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=30))
    return w.state()


def scheduled(w: World) -> KeyState:
    w.version(2)
    w.deactivated(1)
    w.scheduled(1)
    return w.state()


def undecidable(w: World) -> KeyState:
    return replace(w.state(), undecidable="type v2")


def deactivated(w: World) -> KeyState:
    w.version(2)
    w.deactivated(1)
    return w.state()


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


def emergency(w: World, version: int, at: datetime = NOW) -> tuple[Emergencies, StoppedVersion]:
    signed = w.suspend(version)
    command = read_command(signed)
    assert isinstance(command, Suspend)
    lane = Emergencies()
    lane.add(command, signed, at)
    return lane, StoppedVersion(version=version, command=signed)


def test_an_emergency_stops_before_any_fact_and_ends_with_the_fact() -> None:
    w = world(versions=2)
    lane, entry = emergency(w, 1)
    assert lane.denied(w.state()) == {1}
    assert granting.versions_to_prove(w.state(), lane.denied(w.state())) == (2,)
    w.add(w.fact(Suspended, 1, command_id(entry.command), command=entry.command))
    assert lane.open(w.state()) == ()
    assert lane.denied(w.state()) == NONE
    assert granting.versions_to_prove(w.state(), NONE) == (2,)


def test_an_emergency_on_the_key_denies_every_version() -> None:
    w = world(versions=2)
    lane, _ = emergency(w, 0)
    assert lane.denied(w.state()) == {1, 2}


@pytest.mark.parametrize(
    "version", [pytest.param(0, id="every version"), pytest.param(2, id="one not made yet")]
)
def test_a_command_that_never_becomes_a_fact_does_not_stop_later_versions(version: int) -> None:
    w = world(versions=1)
    w.suspended(1)
    lane, _ = emergency(w, version, NOW - timedelta(seconds=1))
    w.version(2)
    assert lane.denied(w.state()) == NONE
    assert granting.versions_to_prove(w.state(), lane.denied(w.state())) == (2,)
    assert [v.version for v in noticing.notice_for(w.state(), "orders", lane, NOW).versions] == [2]


def test_a_notice_says_what_should_be_and_carries_the_words_that_say_so() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert [(v.version, v.state) for v in notice.versions] == [(1, "active"), (2, "pre-activation")]
    assert (notice.current, notice.stopped, notice.as_of) == (1, (), w.log[-1].sequence)
    assert sorted(f.type for f in notice.facts) == [
        "rekey.key.activated.v1",
        "rekey.key.generated.v1",
        "rekey.key.generated.v1",
    ]


def test_a_notice_carries_the_responders_command_before_the_fact_is_there() -> None:
    w = world(versions=1)
    lane, entry = emergency(w, 1)
    notice = noticing.notice_for(w.state(), "orders", lane, NOW)
    assert (notice.current, notice.versions, notice.stopped) == (None, (), (entry,))
    assert [f.type for f in notice.facts] == ["rekey.key.generated.v1"], (
        "who starts later can say why it refuses"
    )


def test_old_versions_of_a_secret_key_cost_a_notice_no_facts() -> None:
    w = world(versions=3)
    w.deactivated(1)
    w.deactivated(2)
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert len(notice.versions) == 3
    assert len(notice.facts) == 2


def test_a_notice_that_differs_in_time_alone_is_not_written_again() -> None:
    w = world(versions=1)
    one = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    later = one.model_copy(update={"at": NOW.replace(hour=4), "as_of": one.as_of + 1})
    assert noticing.same_content(one, later)
    assert not noticing.same_content(one, one.model_copy(update={"current": None}))


def test_every_public_key_is_in_the_notice_of_a_never_key() -> None:
    w = signing(versions=2)
    w.deactivated(1)
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    assert [f.type for f in notice.facts].count("rekey.key.generated.v1") == 2


@pytest.mark.parametrize("compromised_before", [False, True], ids=["destroyed", "destroyed-compromised"])
def test_a_notice_says_that_a_version_is_gone_in_the_generators_words(*, compromised_before: bool) -> None:
    w = world(versions=2)
    w.deactivated(1)
    if compromised_before:
        w.compromised(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=30))
    notice = noticing.notice_for(w.state(), "orders", Emergencies(), NOW)
    found = w.state().versions[1]
    assert found.generated is not None
    assert found.destroyed is not None
    assert [v.version for v in notice.versions] == [2]
    assert notice.facts.count(found.destroyed.signed) == 1
    assert notice.facts.count(found.generated.signed) == 1  # by which key id its data is known


@pytest.mark.parametrize(
    ("state_of", "forgotten"),
    [
        pytest.param(current, [], id="an active version"),
        pytest.param(scheduled, [], id="a version that is to be destroyed"),
        pytest.param(suspended, ["ab" * 32], id="a suspended version"),
        pytest.param(compromised, ["ab" * 32], id="a compromised version"),
        pytest.param(destroyed, ["ab" * 32], id="a destroyed version"),
    ],
)
def test_blobs_and_handles_are_forgotten_of(
    state_of: Callable[[World], KeyState], forgotten: list[str]
) -> None:
    assert list(noticing.blobs_to_forget(state_of(world(versions=1)), Emergencies())) == forgotten


def test_an_emergency_has_its_version_forgotten_before_the_log_says_so() -> None:
    w = world(versions=1)
    lane, _ = emergency(w, 1)
    assert noticing.blobs_to_forget(w.state(), lane) == ("ab" * 32,)


def test_a_notice_names_the_newest_destroyed_versions_and_stays_small() -> None:
    count = MAX_DESTROYED_NAMED + 3
    w = world(versions=count + 1)
    state = w.state()
    versions = {n: replace(v, destroyed=_gone(w, n)) for n, v in state.versions.items() if n <= count}
    gone = replace(state, versions=reduce(Versions.put, versions.values(), state.versions))
    notice = noticing.notice_for(gone, "orders", Emergencies(), NOW)
    named = [fact for fact in notice.facts if fact.type == Destroyed.TYPE]
    assert named == [versions[n].destroyed.signed for n in range(4, count + 1)]  # type: ignore[union-attr]
    assert len(notice.model_dump_json()) < MAX_NOTICE_BYTES / 2


def _gone(w: World, version: int) -> Stored[Destroyed]:
    fact = w.fact(Destroyed, version, blob_digest="ab" * 32, epoch=1, tombstone=1, claimed=(), not_claimed=())
    assert isinstance(fact, Destroyed)
    return Stored(fact, version, NOW, "subject", sign(fact, w.services[Service.GENERATOR]))


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
