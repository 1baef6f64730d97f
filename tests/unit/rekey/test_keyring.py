from __future__ import annotations

from collections.abc import Callable

import pytest

from rekey.beliefs import Stopped
from rekey.errors import (
    CiphertextError,
    LeaseExpiredError,
    RekeyError,
    UnavailableError,
    UnknownKeyIdError,
    VersionCompromisedError,
    VersionSuspendedError,
)
from rekey.keyring import Keyring
from rekey.keystate import KeyState, aead_version
from rekey.lease import LeaseClock
from rekey_core.ciphertext import LARGE_BYTES, parse_key_id
from tests.unit.rekey.world import KEY, NOW, World

W = World()
AAD = b"row 7"


def stopped(version: int, kind: str = "suspended") -> dict[int, Stopped]:
    return {version: Stopped(KEY, version, kind, "rita", "lost laptop", NOW)}  # type: ignore[arg-type]


@pytest.fixture
def key() -> KeyState:
    state = KeyState(KEY)
    for number in (1, 2):
        version = W.secret_version(number)
        version.quota.extend(1000)
        state.install(version)
    state.switch(1)
    state.protects = 1
    return state


@pytest.fixture
def lease() -> LeaseClock:
    clock = LeaseClock(lambda: 0.0)
    clock.extend(0.0, 30)
    return clock


@pytest.fixture
def box(key: KeyState, lease: LeaseClock) -> Keyring:
    return Keyring(key, lease)


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES, 3 * LARGE_BYTES], ids="{} bytes".format)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_ciphertext_is_opened_whatever_its_size_and_buffer(
    box: Keyring, kind: Callable[[bytes], bytes], size: int
) -> None:
    data = bytes(size)
    assert box.decrypt(kind(box.encrypt(data, AAD)), AAD) == data


def test_what_is_encrypted_is_decrypted_before_and_after_a_switch(box: Keyring, key: KeyState) -> None:
    old = box.encrypt(b"data", AAD)
    key.switch(2)
    new = box.encrypt(b"data", AAD)
    assert (old[:5], new[:5]) == (b"\x01" + (1001).to_bytes(4, "big"), b"\x01" + (1002).to_bytes(4, "big"))
    assert box.decrypt(old, AAD) == box.decrypt(new, AAD) == b"data"


def test_a_version_in_pre_activation_processes_what_a_faster_instance_wrote(
    box: Keyring, key: KeyState
) -> None:
    ahead = KeyState(KEY)
    version = W.secret_version(2)
    version.quota.extend(1)
    ahead.install(version)
    ahead.switch(2)
    lease = LeaseClock(lambda: 0.0)
    lease.extend(0.0, 30)
    assert key.view.current is key.held[1]
    assert box.decrypt(Keyring(ahead, lease).encrypt(b"data", AAD), AAD) == b"data"


@pytest.mark.parametrize(
    ("kind", "error"), [("suspended", VersionSuspendedError), ("compromised", VersionCompromisedError)]
)
def test_a_stopped_current_version_neither_protects_nor_processes(
    box: Keyring, key: KeyState, kind: str, error: type[RekeyError]
) -> None:
    old = box.encrypt(b"data", AAD)
    key.stop(stopped(1, kind))
    for call in (box.encrypt, box.decrypt):
        with pytest.raises(error, match=r"orders-db@1 was .* by rita .*: lost laptop") as caught:
            call(old, AAD)
        assert caught.value.hint
    key.switch(2)
    assert box.decrypt(box.encrypt(b"new", AAD), AAD) == b"new"
    with pytest.raises(error):
        box.decrypt(old, AAD)


def test_a_stopped_older_version_leaves_the_current_one_alone(box: Keyring, key: KeyState) -> None:
    old = box.encrypt(b"data", AAD)
    key.switch(2)
    gone = key.stop(stopped(1))
    assert [stop.version for stop in gone] == [1]
    assert box.decrypt(box.encrypt(b"new", AAD), AAD) == b"new"
    with pytest.raises(VersionSuspendedError):
        box.decrypt(old, AAD)


def test_a_ciphertext_of_another_key_is_named_by_its_id(box: Keyring) -> None:
    with pytest.raises(UnknownKeyIdError, match="orders-db has no version with key id 7"):
        box.decrypt(b"\x01\x00\x00\x00\x07" + bytes(40), AAD)


@pytest.mark.parametrize("ciphertext", [b"", b"\x01", b"\x02" + bytes(60), b"\x01" + bytes(60)])
def test_what_is_no_ciphertext_is_refused(box: Keyring, ciphertext: bytes) -> None:
    with pytest.raises(CiphertextError):
        box.decrypt(ciphertext, AAD)


def test_other_associated_data_is_refused(box: Keyring) -> None:
    with pytest.raises(CiphertextError):
        box.decrypt(box.encrypt(b"data", AAD), b"row 8")


def test_without_a_lease_nothing_is_used(box: Keyring, lease: LeaseClock) -> None:
    ciphertext = box.encrypt(b"data", AAD)
    lease.end("cut off")
    for call in (box.encrypt, box.decrypt):
        with pytest.raises(LeaseExpiredError, match="cut off"):
            call(ciphertext, AAD)


def test_before_the_first_activation_there_is_nothing_to_protect_with(lease: LeaseClock) -> None:
    with pytest.raises(UnavailableError, match="no active version yet"):
        Keyring(KeyState(KEY), lease).encrypt(b"data", AAD)


def test_every_call_leaves_its_version(box: Keyring, key: KeyState) -> None:
    box.encrypt(b"data", AAD)
    with pytest.raises(TypeError):
        box.encrypt("text", AAD)  # type: ignore[arg-type]
    assert all(version.in_flight.is_empty for version in key.held.values())


def overtake(key: KeyState, change: Callable[[], object]) -> None:
    """From now on, whoever is about to enter version 1 is overtaken by a change, once."""
    version = aead_version(key.held[1])
    enter = version.in_flight.enter

    def late() -> None:
        version.in_flight.enter = enter
        change()
        enter()

    version.in_flight.enter = late
    key.switch(1)  # calls that come now look it up anew
    version.quota.take()  # and find permits laid out


def test_a_call_that_a_switch_overtakes_takes_the_new_version(box: Keyring, key: KeyState) -> None:
    overtake(key, lambda: key.switch(2))
    assert key.enter() is key.held[2]
    overtake(key, lambda: key.switch(2))
    assert parse_key_id(box.encrypt(b"data", AAD)) == key.held[2].id
    assert key.held[1].in_flight.is_empty, "nobody waits for it"


@pytest.mark.parametrize("kind", ["enter", "encrypt"])
def test_a_call_that_the_closing_overtakes_is_not_let_in(box: Keyring, key: KeyState, kind: str) -> None:
    overtake(key, key.close)
    with pytest.raises(LeaseExpiredError, match="orders-db: the connection was closed"):
        key.enter() if kind == "enter" else box.encrypt(b"data", AAD)
    assert key.held[1].in_flight.is_empty, "nobody waits for it"


def test_a_call_that_a_responder_overtakes_protects_nothing(box: Keyring, key: KeyState) -> None:
    version = key.held[1]
    overtake(key, lambda: key.stop(stopped(1)))
    with pytest.raises(VersionSuspendedError, match="orders-db@1 was suspended by rita"):
        box.encrypt(b"data", AAD)
    assert version.in_flight.is_empty, "nobody waits for it"


@pytest.mark.parametrize("learnt", ["before the stop", "after the stop"])
def test_data_of_a_stopped_version_that_was_never_held_here_says_who_stopped_it(
    box: Keyring, key: KeyState, learnt: str
) -> None:
    ids = {7: 1007, 8: 1008}
    if learnt == "before the stop":
        key.learn(ids)
    key.stop(stopped(7))
    key.learn(ids)
    with pytest.raises(VersionSuspendedError, match="orders-db@7 was suspended by rita"):
        box.decrypt(b"\x01" + (1007).to_bytes(4, "big") + bytes(40), AAD)
    with pytest.raises(UnknownKeyIdError):  # nobody stopped it
        box.decrypt(b"\x01" + (1008).to_bytes(4, "big") + bytes(40), AAD)


def test_a_held_version_is_known_by_its_own_id_whatever_is_learnt(box: Keyring, key: KeyState) -> None:
    old = box.encrypt(b"data", AAD)
    key.learn({1: 7, 9: 1001})
    key.stop(stopped(9))
    assert box.decrypt(old, AAD) == b"data"
    key.stop(stopped(1))
    with pytest.raises(VersionSuspendedError, match="orders-db@1 "):
        box.decrypt(old, AAD)


def test_the_receipt_says_what_is_true_now(key: KeyState) -> None:
    before = key.receipt()
    assert (sorted(before.proofs), before.protects, before.stopped) == ([1, 2], 1, ())
    key.switch(2)
    assert (key.receipt().protects, key.receipt().stopped) == (1, ()), (
        "somebody may still be inside version 1"
    )
    key.protects = 2
    assert (key.receipt().protects, key.receipt().stopped) == (2, (1,))
    key.stop(stopped(2))
    assert (key.receipt().protects, key.receipt().stopped) == (2, (1,)), (
        "somebody may still be inside version 2"
    )
    key.leaving.clear()
    key.protects = None
    after = key.receipt()
    assert (sorted(after.proofs), after.protects, after.stopped) == ([1], None, (1, 2))


def test_versions_in_a_lease_need_no_second_proof_but_those_that_move(key: KeyState) -> None:
    for number in (3, 4, 5):
        key.install(W.secret_version(number))
    key.switch(4)
    key.protects = 4
    key.leased = frozenset({1, 2, 3, 4})
    assert sorted(key.receipt().proofs) == [3, 4, 5], "previous, current, in motion"
    key.leased = frozenset()
    assert sorted(key.receipt().proofs) == [1, 2, 3, 4, 5]
