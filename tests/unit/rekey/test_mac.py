"""MACs here: by which version they are, who is stopped, and that no other data verifies."""

from __future__ import annotations

import hmac

import pytest

from rekey.beliefs import Stopped
from rekey.errors import LeaseExpiredError, MacError, UnknownKeyIdError, VersionSuspendedError
from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.mac import Mac
from tests.unit.rekey.world import KEY, NOW, World

W = World()


@pytest.fixture
def key() -> KeyState:
    state = KeyState(KEY)
    for number in (1, 2):
        state.install(W.mac_version(number))
    state.switch(1)
    return state


@pytest.fixture
def lease() -> LeaseClock:
    clock = LeaseClock(lambda: 0.0)
    clock.extend(0.0, 30)
    return clock


@pytest.fixture
def macs(key: KeyState, lease: LeaseClock) -> Mac:
    return Mac(key, lease)


def test_a_mac_is_tinks_prefix_and_hmac_sha256_under_the_first_half_of_the_version(macs: Mac) -> None:
    tag = hmac.digest(W.secrets[1].reveal()[:32], b"data", "sha256")
    assert macs.compute(b"data") == b"\x01" + (1001).to_bytes(4, "big") + tag


def test_macs_of_both_versions_verify_before_and_after_a_switch(macs: Mac, key: KeyState) -> None:
    old = macs.compute(b"data")
    key.switch(2)
    new = macs.compute(b"data")
    assert old != new
    for mac in (old, new):
        macs.verify(mac, b"data")


@pytest.mark.parametrize("at", [5, 20, 36])
def test_an_altered_mac_and_other_data_are_refused(macs: Mac, at: int) -> None:
    mac = macs.compute(b"data")
    with pytest.raises(MacError):
        macs.verify(mac, b"datA")
    with pytest.raises(MacError):
        macs.verify(mac[:at] + bytes([mac[at] ^ 1]) + mac[at + 1 :], b"data")


def test_the_version_in_front_is_the_only_one_that_is_tried(macs: Mac, key: KeyState) -> None:
    mac = macs.compute(b"data")
    with pytest.raises(MacError):
        macs.verify(key.held[2].fact.key_id.to_bytes(5, "big").replace(b"\0", b"\x01", 1) + mac[5:], b"data")
    with pytest.raises(UnknownKeyIdError):
        macs.verify(b"\x01\0\0\0\x07" + mac[5:], b"data")


@pytest.mark.parametrize("mac", [b"", b"\x01", bytes(37), b"\x01" + bytes(36), b"\x01\0\0\0\x07" + bytes(33)])
def test_what_is_no_mac_is_refused(macs: Mac, mac: bytes) -> None:
    with pytest.raises(MacError):
        macs.verify(mac, b"data")


def test_a_stopped_version_neither_makes_nor_verifies_macs(macs: Mac, key: KeyState) -> None:
    mac = macs.compute(b"data")
    key.stop({1: Stopped(KEY, 1, "suspended", "rita", "lost laptop", NOW)})
    with pytest.raises(VersionSuspendedError, match="rita"):
        macs.compute(b"data")
    with pytest.raises(VersionSuspendedError, match="rita"):
        macs.verify(mac, b"data")


def test_without_a_lease_nothing_is_used_and_every_call_leaves_its_version(
    macs: Mac, key: KeyState, lease: LeaseClock
) -> None:
    mac = macs.compute(b"data")
    with pytest.raises(TypeError):
        macs.compute("text")  # type: ignore[arg-type]
    assert key.held[1].in_flight.is_empty
    lease.end("cut off")
    for call in (lambda: macs.compute(b"data"), lambda: macs.verify(mac, b"data")):
        with pytest.raises(LeaseExpiredError, match="cut off"):
            call()
