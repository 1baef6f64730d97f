"""What one instance has room for: its receipt, its lease and the request with both stay below the limits of the bus."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey.member import MOVING, ROOM_BYTES, Member, Shared, size_of
from rekey.settings import Settings
from rekey_core.contracts import (
    MAX_MESSAGE_BYTES,
    Confirmation,
    KeyReceipt,
    Lease,
    LeasedKey,
    LeaseRequest,
    Notice,
    NoticedVersion,
    Probe,
    ProbeSignature,
    Quota,
    Receipt,
)
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import sign
from rekey_core.names import Algorithm, Release
from rekey_core.quotas import BUDGET
from tests.unit.rekey.desk import UNHEARD, Desk, Instance
from tests.unit.rekey.world import KEY, World

W = World()
NAME = "a" * 58  # with the number of the key 63 characters, the most that a name may have
LATEST = 2**40  # more facts than any stream will have


@pytest.fixture
def member(tmp_path: Path) -> Member:
    me = Instance(W, tmp_path, KEY)
    files = dict.fromkeys(("tls_cert", "tls_key", "tls_ca", "signing_key", "transport_key"), tmp_path)
    said = {"env": "dev", "dependent": "orders", "bus_url": "none", "trust_genesis": "0" * 64}
    settings = Settings.model_validate(files | said | {"state_dir": tmp_path})
    desk = Desk(W)
    return Member(W.identity, Shared(settings, desk, me.trust, me.seen, UNHEARD))


def notice(algorithm: Algorithm, versions: int) -> Notice:
    held = tuple(NoticedVersion(version=n, key_id=n, state="active") for n in range(1, versions + 1))
    changes = {"algorithm": algorithm, "release": Release.NEVER, "versions": held}
    return W.notice((1,), 1).model_copy(update=changes)


def largest_confirmation() -> Confirmation:
    return Confirmation(delivery=uuid.uuid4().hex, installed="f" * 64, switched="f" * 64)


def largest_probe() -> Probe:
    proof = ProbeSignature(nonce="f" * 32, signature=b64u_encode(b"\xff" * 384))  # RSA-3072
    return Probe(installed=proof, switched=proof)


@pytest.mark.parametrize(
    ("algorithm", "proof", "versions"),
    [
        pytest.param(Algorithm.AES_256_GCM, largest_confirmation(), 1, id="data keys"),
        pytest.param(Algorithm.AES_256_GCM, largest_confirmation(), 40, id="data keys with many versions"),
        pytest.param(Algorithm.RSA_3072, largest_probe(), 1, id="keys that sign"),
    ],
)
async def test_whatever_one_instance_takes_in_can_be_said_in_its_messages(
    member: Member, algorithm: Algorithm, proof: Confirmation | Probe, versions: int
) -> None:
    names: list[str] = []
    while member.has_room(size := size_of(notice(algorithm, versions))):
        names.append(f"{NAME}-{len(names):04}")
        member.add(names[-1], size)
    assert len(names) > 1
    proofs = {10**6 + number: proof for number in range(max(MOVING, versions + 1))}
    held = KeyReceipt(
        proofs=proofs, protects=10**6, stopped=tuple(proofs), refused=(), destroyed=(), as_of=LATEST
    )
    identity = W.identity
    common = {
        "env": identity.env,
        "dependent": identity.dependent,
        "instance": identity.instance,
        "endorsement": identity.endorsement,
    }
    now = datetime.now(UTC)
    receipt = Receipt.model_validate(
        common | {"n": 1, "at": now, "keys": dict.fromkeys(names, held.model_dump())}
    )
    assert len(receipt.model_dump_json()) <= MAX_MESSAGE_BYTES
    quota = Quota(version=10**6, messages=BUDGET)
    leased = LeasedKey(versions=tuple(proofs), as_of=LATEST, lease_s=30, quota=quota)
    moment = {"at": now, "nonce": "f" * 32}
    lease = Lease.model_validate(common | moment | {"keys": dict.fromkeys(names, leased)})
    assert len(lease.model_dump_json()) <= MAX_MESSAGE_BYTES
    request = LeaseRequest(
        **member.requests.common(),
        keys=tuple(names),
        receipt=sign(receipt, identity.key),
        wanted=dict.fromkeys(names, quota),
    )
    assert len(sign(request, identity.key).model_dump_json()) <= 2 * MAX_MESSAGE_BYTES


def test_a_key_too_large_for_any_receipt_is_alone_in_one(member: Member) -> None:
    assert member.has_room(2 * ROOM_BYTES)


async def test_what_was_never_admitted_leaves_its_room_to_others(member: Member) -> None:
    member.add(KEY, ROOM_BYTES)
    assert not member.has_room(1)
    member.forget(KEY)
    assert member.has_room(1)
