"""A destroyed version leaves an instance on the generator's own word, for good, and its data is known by its ids."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from rekey import jwt
from rekey.beliefs import Gone
from rekey.errors import UnknownKeyIdError, VersionCompromisedError, VersionDestroyedError
from rekey.keyring import Keyring
from rekey.keystate import aead_version
from rekey.lease import LeaseClock
from rekey.signer import Signer
from rekey_core.contracts import Notice, Signed
from rekey_core.encoding import b64u_decode
from rekey_core.jwk import public_jwk
from rekey_core.names import Release, Service
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, NOW, World

TOKEN = "token-signer"
W = World()


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    return instance


def tell(instance: Instance, notice: Notice) -> None:
    instance.desk.put(W.stored(notice, Service.DISTRIBUTOR))


def box_of(me: Instance) -> Keyring:
    """With some messages to protect."""
    for version in me.key.held.values():
        aead_version(version).quota.extend(10)
    return Keyring(me.key, leased())


def leased() -> LeaseClock:
    lease = LeaseClock(lambda: 0.0)
    lease.extend(0.0, 30)
    return lease


def facts(*more: Signed, current: int = 2) -> tuple[Signed, ...]:
    """Of the current version, and more."""
    made = W.signed(W.generated(current), Service.GENERATOR)
    return (made, W.signed(W.activated(current), Service.ROTATION_SCHEDULER), *more)


def gone(version: int = 1) -> tuple[Signed, ...]:
    return (W.signed(W.generated(version), Service.GENERATOR), W.destroyed(version))


async def holding_both(me: Instance) -> bytes:
    """Version 1, then 2 as current; a ciphertext under 1."""
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    old = box_of(me).encrypt(b"data", b"")
    tell(me, W.notice((1, 2), 2, as_of=11))
    await me.worker.reconcile()
    return old


async def test_an_instance_drops_it_says_so_and_names_it(me: Instance) -> None:
    old = await holding_both(me)
    dropped = weakref.ref(me.key.held[1])
    tell(me, W.notice((2,), 2, as_of=12, facts=facts(*gone())))
    await me.worker.reconcile()
    gc.collect()
    assert dropped() is None, "something still refers to the version and its key"
    assert (sorted(me.key.held), me.desk.receipts[-1].keys[KEY].destroyed) == ([2], (1,))
    box = box_of(me)
    with pytest.raises(VersionDestroyedError, match="orders-db@1 was destroyed at 2026-01-02"):
        box.decrypt(old, b"")
    assert box.decrypt(box.encrypt(b"new", b""), b"") == b"new"


FORGED = [
    pytest.param((), id="nobody's word: it is only left out"),
    pytest.param((W.destroyed(1, by=Service.DISTRIBUTOR),), id="the distributor's word"),
    pytest.param((W.destroyed(1, by=Service.ROTATION_SCHEDULER),), id="the scheduler's word"),
    pytest.param((W.destroyed(1, key="orders-other"),), id="a word about another key"),
]


@pytest.mark.parametrize("said", FORGED)
async def test_without_the_generators_word_it_stays(me: Instance, said: tuple[Signed, ...]) -> None:
    old = await holding_both(me)
    tell(me, W.notice((2,), 2, as_of=12, facts=facts(*said)))
    await me.worker.reconcile()
    assert box_of(me).decrypt(old, b"") == b"data"
    assert me.desk.receipts[-1].keys[KEY].destroyed == ()


async def test_a_notice_that_contradicts_itself_takes_nothing_away(me: Instance) -> None:
    old = await holding_both(me)
    tell(me, W.notice((1, 2), 2, as_of=12, facts=facts(*gone())))
    await me.worker.reconcile()
    assert box_of(me).decrypt(old, b"") == b"data"


async def test_once_gone_it_is_never_held_again(me: Instance) -> None:
    await holding_both(me)
    tell(me, W.notice((2,), 2, as_of=12, facts=facts(*gone())))
    await me.worker.reconcile()
    tell(me, W.notice((1, 2), 2, as_of=13, facts=facts(W.signed(W.generated(1), Service.GENERATOR))))
    await me.worker.reconcile()
    assert sorted(me.key.held) == [2]


async def test_a_call_inside_the_version_keeps_it_out_of_the_receipt(me: Instance) -> None:
    await holding_both(me)
    me.key.held[1].in_flight.enter()
    me.key.destroy({1: _word(me)})
    assert me.key.receipt().destroyed == ()
    me.key.leaving[0].in_flight.leave()
    tell(me, W.notice((2,), 2, as_of=12, facts=facts(*gone())))
    await me.worker.reconcile()
    assert me.desk.receipts[-1].keys[KEY].destroyed == (1,)


def _word(me: Instance) -> Gone:
    return Gone(me.key.name, 1, NOW)


async def test_a_joiner_knows_the_data_of_what_was_destroyed_before(me: Instance) -> None:
    tell(me, W.notice((2,), 2, facts=facts(*gone())))
    await me.worker.reconcile()
    box = box_of(me)
    with pytest.raises(VersionDestroyedError, match="orders-db@1"):
        box.decrypt(b"\x01" + (1001).to_bytes(4, "big") + bytes(40), b"")
    with pytest.raises(UnknownKeyIdError):
        box.decrypt(b"\x01" + (1004).to_bytes(4, "big") + bytes(40), b"")


async def test_what_was_compromised_before_is_gone_all_the_same(me: Instance) -> None:
    old = await holding_both(me)
    stops = (W.stopped(1, W.command(1, verb="revoke")),)
    tell(me, W.notice((2,), 2, as_of=12, facts=facts(gone()[0]), stopped=stops))
    await me.worker.reconcile()
    box = box_of(me)
    with pytest.raises(VersionCompromisedError):
        box.decrypt(old, b"")
    tell(me, W.notice((2,), 2, as_of=13, facts=facts(*gone()), stopped=stops))
    await me.worker.reconcile()
    with pytest.raises(VersionDestroyedError):
        box.decrypt(old, b"")


async def test_tokens_of_a_destroyed_version_are_refused_by_their_kid(tmp_path: Path) -> None:
    signing = Instance(W, tmp_path, TOKEN)
    await signing.trust.refresh()
    fact = W.generated(1, key=TOKEN, release=Release.NEVER)
    said = (W.signed(fact, Service.GENERATOR), W.destroyed(1, key=TOKEN))
    tell(signing, W.notice((), facts=said, key=TOKEN, release=Release.NEVER))
    await signing.worker.reconcile()
    signed = jwt.signing_input("ES256", public_jwk(fact.algorithm, b64u_decode(fact.spki or ""))["kid"], {})
    signer = Signer(signing.key, leased(), signing.requests, 0.1, lambda: None)
    with pytest.raises(VersionDestroyedError, match="token-signer@1"):
        signer.verify_jwt(jwt.compact(signed, W.es256(1, signed)))
    assert signer.jwks() == {"keys": []}
