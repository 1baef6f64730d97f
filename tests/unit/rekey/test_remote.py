"""Secrets that never leave the HSM: installed by confirmation, used sealed, and enveloped with few questions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rekey import envelope as enveloping
from rekey.beliefs import Stopped
from rekey.envelope import Envelope
from rekey.errors import CiphertextError, MacError, UnavailableError, UsageRefusedError, VersionSuspendedError
from rekey.lease import LeaseClock
from rekey.remote import Remote
from rekey.remote_keyring import RemoteKeyring
from rekey.remote_mac import RemoteMac
from rekey.sealed import Sealed
from rekey_core.contracts import MAX_USE_BYTES, EncryptRequest, Request, SealingRequest
from rekey_core.errors import StateRefusedError
from rekey_core.names import Release, Service
from rekey_core.sealing import SealingKey
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import NOW, World

W = World()
AAD = b"row 7"


class Bench:
    """One instance that holds versions 1 (current) and 2 of a secret that never leaves, and what the SDK gives out."""

    def __init__(self, state_dir: Path, key: str) -> None:
        self.instance = Instance(W, state_dir, key)
        self.key, self.desk = self.instance.key, self.instance.desk
        for number in (1, 2):
            self.key.install(W.remote_secret_version(number, key))
        self.key.switch(1)
        self.lease = LeaseClock(lambda: 0.0)
        self.lease.extend(0.0, 30)
        self.looked: list[None] = []
        self.remote = self.waiting(0.2)
        self.sealed = Sealed(self.instance.requests)
        self.now = 0.0
        self.envelope = Envelope("dev", self.remote, self.sealed, lambda: self.now)

    def waiting(self, total_s: float) -> Remote:
        """The version in front, for calls that are tried again for so long."""
        return Remote(self.key, self.lease, total_s, lambda: self.looked.append(None))

    def asked(self, kind: type[Request] | None = None) -> int:
        """How many requests there were, of one kind or of all but the one for the sealing key."""
        return len(
            [
                r
                for r in self.desk.requests
                if (isinstance(r, kind) if kind else not isinstance(r, SealingRequest))
            ]
        )


async def opened(state_dir: Path, key: str) -> Bench:
    bench = Bench(state_dir, key)
    await bench.instance.trust.refresh()
    return bench


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await opened(tmp_path, "envelope-root")


async def test_a_secret_that_never_leaves_is_installed_and_switched_to_by_confirmations(
    tmp_path: Path,
) -> None:
    instance = Instance(W, tmp_path, "envelope-root")
    await instance.trust.refresh()
    notice = W.notice((1,), 1, key="envelope-root", release=Release.NEVER)
    instance.desk.put(W.stored(notice, Service.DISTRIBUTOR))
    await instance.worker.reconcile()
    proof = instance.desk.receipts[-1].keys["envelope-root"].proofs[1]
    fact = W.generated(1, key="envelope-root", release=Release.NEVER)
    me = W.instance.key_id
    assert proof.installed == W.confirmation(fact, "installed", me)
    assert proof.switched == W.confirmation(fact, "switched", me)
    assert (instance.key.view.current, instance.key.protects) == (instance.key.held[1], 1)


async def test_what_is_encrypted_inside_is_decrypted_inside_by_the_version_in_front(bench: Bench) -> None:
    box = RemoteKeyring(bench.remote, bench.sealed)
    old = await box.encrypt(b"data", AAD)
    bench.key.switch(2)
    new = await box.encrypt(b"data", AAD)
    assert (old[:5], new[:5]) == (b"\x01" + (1001).to_bytes(4, "big"), b"\x01" + (1002).to_bytes(4, "big"))
    assert [await box.decrypt(one, AAD) for one in (old, new)] == [b"data", b"data"]
    with pytest.raises(CiphertextError):
        await box.decrypt(old, b"row 8")


async def test_macs_are_made_and_verified_inside(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "mac-root")
    macs = RemoteMac(bench.remote, bench.sealed)
    mac = await macs.compute(b"data")
    await macs.verify(mac, b"data")
    with pytest.raises(MacError):
        await macs.verify(mac, b"datA")
    with pytest.raises(MacError):
        await macs.verify(mac[:-1], b"data")


async def test_nothing_of_the_data_crosses_the_bus_in_clear(bench: Bench) -> None:
    bench.desk.sealed = False
    with pytest.raises(UnavailableError, match="cannot be believed"):
        await RemoteKeyring(bench.remote, bench.sealed).encrypt(b"data", AAD)
    assert all(b"plaintext" not in request.model_dump_json().encode() for request in bench.desk.requests)


async def test_a_distributor_with_another_sealing_key_is_asked_for_it(bench: Bench) -> None:
    box = RemoteKeyring(bench.waiting(30), bench.sealed)
    await box.encrypt(b"data", AAD)
    bench.desk.sealing = SealingKey.generate()
    assert await box.encrypt(b"data", AAD)
    assert bench.asked(SealingRequest) == 2


async def test_a_refusal_of_the_state_makes_us_look_again(bench: Bench) -> None:
    bench.desk.refuse = lambda request: (
        StateRefusedError("it is suspended") if isinstance(request, EncryptRequest) else None
    )
    with pytest.raises(UnavailableError, match="it is suspended"):
        await RemoteKeyring(bench.remote, bench.sealed).encrypt(b"data", AAD)
    assert bench.looked
    assert bench.key.held[1].in_flight.is_empty


async def test_more_than_one_call_may_bring_is_for_the_envelope(bench: Bench) -> None:
    box = RemoteKeyring(bench.remote, bench.sealed)
    data = bytes(MAX_USE_BYTES)
    assert await box.decrypt(await box.encrypt(data, AAD), AAD) == data
    with pytest.raises(UsageRefusedError) as caught:
        await box.encrypt(data + b"x", AAD)
    assert "envelope()" in (caught.value.hint or "")
    large = data * 10
    assert await bench.envelope.decrypt(await bench.envelope.encrypt(large, AAD), AAD) == large


async def test_one_data_key_serves_many_calls_and_many_at_once(bench: Bench) -> None:
    ciphertexts = await asyncio.gather(*(bench.envelope.encrypt(b"data", AAD) for _ in range(50)))
    assert bench.asked() == 1
    assert len(set(ciphertexts)) == 50
    for ciphertext in ciphertexts:
        assert await bench.envelope.decrypt(ciphertext, AAD) == b"data"
    assert bench.asked() == 2, "unwrapped once, then kept"


@pytest.mark.parametrize("why", ["age", "calls", "rotation"])
async def test_a_new_data_key_is_made_when_the_old_one_is(
    bench: Bench, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enveloping, "DATA_KEY_CALLS", 2)
    first = await bench.envelope.encrypt(b"data", AAD)
    if why == "age":
        bench.now = enveloping.DATA_KEY_AGE_S
    elif why == "calls":
        await bench.envelope.encrypt(b"data", AAD)
    else:
        bench.key.switch(2)
    assert (await bench.envelope.encrypt(b"data", AAD))[:68] != first[:68]
    assert bench.asked() == 2


async def test_unwrapped_data_keys_are_kept_for_a_while_and_not_more_than_so_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enveloping, "DATA_KEY_CALLS", 1)
    monkeypatch.setattr(enveloping, "DATA_KEYS_KEPT", 2)
    one, two, three = [await bench.envelope.encrypt(b"data", AAD) for _ in range(3)]
    for ciphertext, asked in ((one, 4), (two, 5), (one, 5), (three, 6), (one, 6), (two, 7)):
        await bench.envelope.decrypt(ciphertext, AAD)
        assert bench.asked() == asked
    bench.now = enveloping.DATA_KEY_AGE_S
    await bench.envelope.decrypt(two, AAD)
    assert bench.asked() == 8


async def test_a_stop_takes_data_keys_that_are_kept(bench: Bench) -> None:
    ciphertext = await bench.envelope.encrypt(b"data", AAD)
    assert await bench.envelope.decrypt(ciphertext, AAD) == b"data"
    bench.key.stop({1: Stopped(bench.key.name, 1, "suspended", "rita", "why", NOW)})
    for call in (bench.envelope.decrypt(ciphertext, AAD), bench.envelope.encrypt(b"data", AAD)):
        with pytest.raises(VersionSuspendedError, match="rita"):
            await call
    assert bench.envelope._using is None  # noqa: SLF001 - nothing of the stopped version stays in memory
    assert not bench.envelope._kept  # noqa: SLF001 - as above
    bench.key.switch(2)
    assert await bench.envelope.decrypt(await bench.envelope.encrypt(b"new", AAD), AAD) == b"new"


@pytest.mark.parametrize("at", [0, 1, 2, 3, 10, 60, 68, 80, -1])
async def test_an_altered_envelope_does_not_open(bench: Bench, at: int) -> None:
    good = bytearray(await bench.envelope.encrypt(b"data", AAD))
    await bench.envelope.decrypt(bytes(good), AAD)
    good[at] ^= 1
    with pytest.raises((CiphertextError, LookupError, UnavailableError)) as caught:
        await bench.envelope.decrypt(bytes(good), AAD)
    assert isinstance(caught.value, CiphertextError)


async def test_wrapped_keys_cannot_be_exchanged_and_other_associated_data_is_refused(bench: Bench) -> None:
    one = await bench.envelope.encrypt(b"data", AAD)
    bench.now = enveloping.DATA_KEY_AGE_S
    two = await bench.envelope.encrypt(b"data", AAD)
    with pytest.raises(CiphertextError):
        await bench.envelope.decrypt(one[:68] + two[68:], AAD)
    with pytest.raises(CiphertextError):
        await bench.envelope.decrypt(one, b"row 8")
    for short in (b"", one[:1], one[:68], one[:95]):
        with pytest.raises(CiphertextError):
            await bench.envelope.decrypt(short, AAD)


async def test_a_wrapped_data_key_is_bound_to_its_use(bench: Bench) -> None:
    """What remote_keyring() encrypted is no data key, and a data key does not open as data."""
    box = RemoteKeyring(bench.remote, bench.sealed)
    ciphertext = await bench.envelope.encrypt(b"data", AAD)
    with pytest.raises(CiphertextError):
        await box.decrypt(ciphertext[3:68], AAD)
    forged = await box.encrypt(bytes(32), AAD)
    with pytest.raises(CiphertextError):
        await bench.envelope.decrypt(ciphertext[:3] + forged + ciphertext[68:], AAD)
