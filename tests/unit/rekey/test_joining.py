"""An instance that starts after a version was stopped: it was never given it, and knows its data all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from rekey import jwt
from rekey.errors import UnknownKeyIdError, VersionCompromisedError, VersionSuspendedError
from rekey.keyring import Keyring
from rekey.lease import LeaseClock
from rekey.signer import Signer
from rekey_core.contracts import Notice
from rekey_core.encoding import b64u_decode
from rekey_core.errors import RefusedError
from rekey_core.jwk import public_jwk
from rekey_core.names import Release, Service
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, World

TOKEN = "token-signer"
W = World()


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    return instance


@pytest.fixture
async def signing(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, TOKEN)
    await instance.trust.refresh()
    return instance


def tell(instance: Instance, notice: Notice) -> None:
    instance.desk.put(W.stored(notice, Service.DISTRIBUTOR))


def leased() -> LeaseClock:
    lease = LeaseClock(lambda: 0.0)
    lease.extend(0.0, 30)
    return lease


@pytest.mark.parametrize("told", [2, 0], ids=["of the version", "of all versions"])
@pytest.mark.parametrize(
    ("verb", "error"), [("suspend", VersionSuspendedError), ("revoke", VersionCompromisedError)]
)
async def test_a_joiner_after_a_stop_knows_the_ciphertexts_of_the_version(
    me: Instance, verb: Literal["suspend", "revoke"], error: type[RefusedError], told: int
) -> None:
    facts = (W.signed(W.generated(2), Service.GENERATOR),)
    stops = (W.stopped(told, W.command(told, verb=verb)),)
    tell(me, W.notice((1,) if told else (), facts=facts, stopped=stops))
    await me.worker.reconcile()
    box = Keyring(me.key, leased())
    with pytest.raises(error, match=r"orders-db@2 was .* by rita"):
        box.decrypt(b"\x01" + (1002).to_bytes(4, "big") + bytes(40), b"")
    with pytest.raises(UnknownKeyIdError):
        box.decrypt(b"\x01" + (1004).to_bytes(4, "big") + bytes(40), b"")


async def test_a_joiner_after_a_stop_knows_the_tokens_of_the_version(signing: Instance) -> None:
    fact = W.generated(1, key=TOKEN, release=Release.NEVER)
    facts = (W.signed(fact, Service.GENERATOR),)
    stops = (W.stopped(1, W.command(1, key=TOKEN)),)
    tell(signing, W.notice((), facts=facts, stopped=stops, key=TOKEN, release=Release.NEVER))
    await signing.worker.reconcile()
    signed = jwt.signing_input("ES256", public_jwk(fact.algorithm, b64u_decode(fact.spki or ""))["kid"], {})
    signer = Signer(signing.key, leased(), signing.requests, 0.1, lambda: None)
    with pytest.raises(VersionSuspendedError, match="token-signer@1 was suspended by rita"):
        signer.verify_jwt(jwt.compact(signed, W.es256(1, signed)))
    assert signer.jwks() == {"keys": []}


async def test_a_generated_without_a_responders_word_stops_nothing(me: Instance) -> None:
    facts = (W.signed(W.generated(2), Service.GENERATOR),)
    forged = (W.stopped(2, W.command(2, author="alice")),)
    tell(me, W.notice((1,), facts=facts, stopped=forged))
    await me.worker.reconcile()
    assert (me.key.stopped, dict(me.key.view.refused_ids)) == ({}, {})
