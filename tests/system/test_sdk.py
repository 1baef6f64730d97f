"""The SDK against the real services: what an application sees while keys rotate and stop and parts die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

import rekey
import rekey.requests
from rekey.errors import ExpiredError, NotFoundError, UsageRefusedError
from rekey_core.contracts import OLDEST_PROTOCOL, PROTOCOL
from rekey_local.cast import OWNER
from rekey_local.commands import Outcome
from rekey_local.settings import instance_settings
from tests.fakes.protocol_2 import speaks_protocol_2
from tests.system.instances import transport
from tests.system.stack import NATS, RunningStack, running_stack

DATA, TOKEN = "orders-db", "token-signer"
AAD = b"row 7"

Two = tuple[rekey.Keys, rekey.Keys]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("sdk"), instances=False) as running:
        yield running


def settings(stack: RunningStack, dependent: str, number: int = 1) -> rekey.Settings:
    return rekey.Settings.load(instance_settings(stack.layout, dependent, number))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(stack: RunningStack) -> AsyncIterator[Two]:
    """One instance of each dependent for all tests, with both keys: each test may be the first one."""
    async with (
        rekey.connect(settings(stack, "orders")) as orders,
        rekey.connect(settings(stack, "billing")) as billing,
    ):
        for keys in (orders, billing):
            await keys.keyring(DATA)
            await keys.signer(TOKEN)
        yield orders, billing


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes waits for a busy machine: a lease that is not ended would be waited for in the next test."""
    monkeypatch.setattr("rekey.leaving.LEAVE_S", 20.0)


async def until(is_true: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
    assert is_true(), what


async def test_an_sdk_one_protocol_behind_works(
    stack: RunningStack, two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaks_protocol_2(monkeypatch)
    async with rekey.connect(settings(stack, "orders", 2)) as keys:
        ours = await keys.keyring(DATA)
        with pytest.raises(NotFoundError, match="nothing-here"):
            await keys.keyring("nothing-here")  # asked for together with the one that it has
        assert (await two[1].keyring(DATA)).decrypt(ours.encrypt(b"data", AAD), AAD) == b"data"
        signer = await keys.signer(TOKEN)
        assert signer.verify_jwt(await signer.sign_jwt({"sub": "an older SDK"}))["sub"] == "an older SDK"


@pytest.mark.parametrize(
    ("protocol", "error"),
    [
        pytest.param(OLDEST_PROTOCOL - 1, rekey.ProtocolTooOldError, id="two behind"),
        pytest.param(PROTOCOL + 1, rekey.ProtocolTooNewError, id="one ahead"),
    ],
)
async def test_an_sdk_of_a_protocol_that_the_distributor_does_not_speak_is_told_so(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch, protocol: int, error: type[rekey.RekeyError]
) -> None:
    monkeypatch.setattr(rekey.requests, "PROTOCOL", protocol)
    async with rekey.connect(settings(stack, "orders", 2)) as keys:
        for use in (keys.keyring(DATA), keys.signer(TOKEN)):
            with pytest.raises(error, match=f"orders speaks protocol {protocol}, expected 2 or 3") as refused:
                await use
            assert "up to date" in str(refused.value.hint) or "newer rekey" in str(refused.value.hint)


async def test_dependents_read_what_the_others_wrote(two: Two) -> None:
    orders, billing = two
    ours, theirs = await orders.keyring(DATA), await billing.keyring(DATA)
    assert theirs.decrypt(ours.encrypt(b"data", AAD), AAD) == b"data"
    with pytest.raises(rekey.CiphertextError):
        theirs.decrypt(ours.encrypt(b"data", AAD), b"row 8")
    status = orders.status()[DATA]
    assert status.current is not None
    assert status.lease_until is not None


async def test_dependents_verify_the_others_tokens(two: Two) -> None:
    ours, theirs = [await keys.signer(TOKEN) for keys in two]
    token = await ours.sign_jwt({"sub": "alice", "exp": int(time.time()) + 60})
    assert theirs.verify_jwt(token)["sub"] == "alice"
    assert ours.jwks() == theirs.jwks()
    expired = await ours.sign_jwt({"exp": int(time.time()) - 1})
    with pytest.raises(rekey.TokenError, match="expired"):
        theirs.verify_jwt(expired)


async def test_a_key_that_does_not_exist_and_a_key_of_another_class_are_refused_at_once(two: Two) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(NotFoundError, match="nothing-here"):
            await two[0].keyring("nothing-here")
        with pytest.raises(UsageRefusedError, match="signer"):
            await two[0].keyring(TOKEN)
    assert "nothing-here" not in two[0].status()


async def test_keys_rotate_without_one_failed_call(stack: RunningStack, two: Two) -> None:
    boxes = [await keys.keyring(DATA) for keys in two]
    signers = [await keys.signer(TOKEN) for keys in two]
    rotated: list[rekey.Rotated] = []
    two[0].on_rotated(rotated.append)
    before = boxes[0].encrypt(b"old", AAD)
    done = asyncio.Event()

    async def work() -> int:
        calls = 0
        while not done.is_set():
            assert boxes[calls % 2].decrypt(boxes[(calls + 1) % 2].encrypt(b"data", AAD), AAD) == b"data"
            token = await signers[calls % 2].sign_jwt({"n": calls})
            assert signers[(calls + 1) % 2].verify_jwt(token) == {"n": calls}
            calls += 1
        return calls

    load = asyncio.create_task(work())
    for key in (DATA, TOKEN):
        outcome = await asyncio.to_thread(stack.rotate, key)
        assert outcome.code == 0, outcome.err
    await until(lambda: {event.key for event in rotated} == {DATA, TOKEN}, "both rotations")
    done.set()
    assert await load > 0
    assert boxes[1].decrypt(before, AAD) == b"old"
    assert boxes[0].encrypt(b"new", AAD)[:5] != before[:5]


@pytest.mark.parametrize("part", [NATS, "distributor"])
async def test_local_calls_go_on_and_remote_ones_come_back_when_a_part_is_killed(
    stack: RunningStack, two: Two, part: str
) -> None:
    box, signer = await two[0].keyring(DATA), await two[0].signer(TOKEN)
    await asyncio.to_thread(stack.kill, part)
    assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
    token = await signer.sign_jwt({"sub": "after"})
    assert signer.verify_jwt(token) == {"sub": "after"}
    await asyncio.to_thread(stack.ready, part)
    await asyncio.to_thread(stack.show, DATA)  # audit is there again too, for those who ask it next


async def test_a_suspended_version_stops_everywhere_says_who_and_why_and_is_followed_by_a_new_one(
    stack: RunningStack, two: Two
) -> None:
    boxes = [await keys.keyring(DATA) for keys in two]
    stopped: list[rekey.Stopped] = []
    two[0].on_stopped(stopped.append)
    current, ciphertext = two[0].status()[DATA].current, boxes[0].encrypt(b"data", AAD)
    outcome = await asyncio.to_thread(
        stack.rekey, "rita", "suspend", f"{DATA}@{current}", "--reason", "a test", "--yes"
    )
    assert outcome.code == 0, outcome.err
    for keys, box in zip(two, boxes, strict=True):
        await until(lambda k=keys: current in k.status()[DATA].stopped, "stopped")  # type: ignore[misc]
        with pytest.raises(rekey.VersionSuspendedError, match=r"rita.*a test"):
            box.encrypt(b"data", AAD)
        with pytest.raises(rekey.VersionSuspendedError, match=r"rita.*a test"):
            box.decrypt(ciphertext, AAD)
    await until(lambda: bool(stopped), "the event")
    assert (stopped[0].key, stopped[0].version, stopped[0].responder) == (DATA, current, "rita")
    assert (outcome := await asyncio.to_thread(stack.rotate, DATA)).code == 0, outcome.err
    await until(lambda: all(k.status()[DATA].current not in (None, current) for k in two), "the next")
    assert boxes[1].decrypt(boxes[0].encrypt(b"data", AAD), AAD) == b"data"
    with pytest.raises(rekey.VersionSuspendedError):
        boxes[0].decrypt(ciphertext, AAD)


async def test_an_instance_that_starts_after_a_stop_says_who_stopped_what_it_was_never_given(
    stack: RunningStack, two: Two
) -> None:
    box, signer = await two[0].keyring(DATA), await two[0].signer(TOKEN)
    ciphertext, token = box.encrypt(b"data", AAD), await signer.sign_jwt({"sub": "alice"})
    for key in (DATA, TOKEN):
        version = two[0].status()[key].current
        outcome = await asyncio.to_thread(stack.rotate, key)
        assert outcome.code == 0, outcome.err
        outcome = await asyncio.to_thread(
            stack.rekey, "rita", "suspend", f"{key}@{version}", "--reason", "a test", "--yes"
        )
        assert outcome.code == 0, outcome.err
        for keys in two:
            await until(lambda k=keys, n=key, v=version: v in k.status()[n].stopped, "stopped")  # type: ignore[misc]
    async with rekey.connect(settings(stack, "orders", 2)) as late:
        late_box, late_signer = await late.keyring(DATA), await late.signer(TOKEN)
        with pytest.raises(rekey.VersionSuspendedError, match=rf"{DATA}@.*rita.*a test"):
            late_box.decrypt(ciphertext, AAD)
        with pytest.raises(rekey.VersionSuspendedError, match=rf"{TOKEN}@.*rita.*a test"):
            late_signer.verify_jwt(token)
        assert late_box.decrypt(box.encrypt(b"new", AAD), AAD) == b"new"


async def test_a_rotation_does_not_wait_for_an_instance_that_closed_in_order(
    stack: RunningStack, two: Two
) -> None:
    async with rekey.connect(settings(stack, "orders", 2)) as other:
        box = await other.keyring(DATA)
        assert await live(stack) == {keys.instance for keys in (*two, other)}
        lease_until = other.status()[DATA].lease_until
    assert lease_until is not None
    with pytest.raises(rekey.LeaseExpiredError, match="closed"):
        box.encrypt(b"data", AAD)
    assert await live(stack) == {keys.instance for keys in two}
    outcome = await asyncio.to_thread(stack.rotate, DATA)
    assert outcome.code == 0, outcome.err
    entries = (await asyncio.to_thread(stack.history, DATA)).entries
    for event in ("activated", "deactivated"):
        newest = [entry for entry in entries if entry.event == event][-1]
        assert (newest.detail, newest.at < lease_until) == ("proved by billing (1), orders (1)", True)


async def test_an_instance_that_left_gets_no_other_lease(stack: RunningStack, two: Two) -> None:
    async with rekey.connect(settings(stack, "billing", 2)) as other:
        await other.keyring(DATA)
        requests, receipts = other._members.first.requests, other._members.first.receipts  # noqa: SLF001 - no application leaves and goes on
        last = receipts.written
        assert last is not None
        for _ in range(2):  # saying it twice ends it once
            await requests.leave([DATA], last)
        with pytest.raises(ExpiredError, match="has left"):  # a renewal that was on its way
            await requests.lease([DATA], last)
        assert await live(stack) == {keys.instance for keys in two}


async def live(stack: RunningStack) -> set[str]:
    """The instances that a rotation of the key would wait for now."""
    said = await asyncio.to_thread(stack.ask, OWNER, "adoption", DATA)
    return {one["instance"] for dependent in said["dependents"] for one in dependent["instances"]}


INSIDE = {
    "orders-hooks": "message-auth-hsm",
    "token-es384": "token-signing-es384",
    "token-ps256": "token-signing-ps256",
}


async def register(stack: RunningStack, name: str, key_class: str) -> Outcome:
    return await asyncio.to_thread(
        stack.rekey,
        OWNER,
        *("key", "register", name, "--class", key_class, "--purpose", "a kind of key", "--reason", "test"),
        *("--dependent", "orders", "--dependent", "billing", "--wait", "60"),
    )


async def test_every_kind_of_key_does_what_it_is_for_and_what_is_old_still_counts_after_a_rotation(
    stack: RunningStack, two: Two
) -> None:
    orders, billing = two
    for outcome in await asyncio.gather(*(register(stack, *row) for row in INSIDE.items())):
        assert outcome.code == 0, outcome.err
    macs = [await keys.mac("webhook-mac") for keys in two]
    inside = [await keys.remote_mac("orders-hooks") for keys in two]
    safes = [await keys.envelope("envelope-root") for keys in two]
    boxes = [await keys.remote_keyring("envelope-root") for keys in two]
    signers = {name: [await keys.signer(name) for keys in two] for name in ("token-es384", "token-ps256")}

    async def make() -> tuple[bytes, bytes, bytes, bytes, dict[str, str]]:
        return (
            macs[0].compute(b"body"),
            await inside[0].compute(b"body"),
            await safes[0].encrypt(bytes(100_000), AAD),
            await boxes[0].encrypt(b"data", AAD),
            {name: await ours.sign_jwt({"sub": name}) for name, (ours, _) in signers.items()},
        )

    async def check(made: tuple[bytes, bytes, bytes, bytes, dict[str, str]]) -> None:
        mac, mac_inside, sealed, ciphertext, tokens = made
        macs[1].verify(mac, b"body")
        await inside[1].verify(mac_inside, b"body")
        assert await safes[1].decrypt(sealed, AAD) == bytes(100_000)
        assert await boxes[1].decrypt(ciphertext, AAD) == b"data"
        for name, (_, theirs) in signers.items():
            assert theirs.verify_jwt(tokens[name]) == {"sub": name}

    old = await make()
    await check(old)
    with pytest.raises(rekey.MacError):
        await inside[1].verify(old[1], b"bodY")
    with pytest.raises(rekey.CiphertextError):
        await boxes[1].decrypt(old[3], b"row 8")
    algorithms = {
        name: {key["alg"] for key in theirs.jwks()["keys"]} for name, (_, theirs) in signers.items()
    }
    assert algorithms == {"token-es384": {"ES384"}, "token-ps256": {"PS256"}}
    keys = (*INSIDE, "webhook-mac", "envelope-root")
    for outcome in await asyncio.gather(*(asyncio.to_thread(stack.rotate, key) for key in keys)):
        assert outcome.code == 0, outcome.err
    new = await make()
    await check(old)
    await check(new)
    ids = [(made[0][:5], made[1][:5], made[2][3:8], made[3][:5]) for made in (old, new)]
    assert all(one != other for one, other in zip(*ids, strict=True)), "nobody protects with the old versions"
    assert orders.status()["orders-hooks"].problem is billing.status()["orders-hooks"].problem is None


HIGH_VOLUME = {"orders-rows": "application-data-high-volume", "orders-events": "message-auth-high-volume"}


async def test_versions_of_high_volume_come_under_a_key_of_the_process_that_gives_them(
    stack: RunningStack, two: Two
) -> None:
    for outcome in await asyncio.gather(*(register(stack, *row) for row in HIGH_VOLUME.items())):
        assert outcome.code == 0, outcome.err
    rows, events = HIGH_VOLUME
    boxes, macs = [await k.keyring(rows) for k in two], [await k.mac(events) for k in two]
    old = boxes[0].encrypt(b"old", AAD), macs[0].compute(b"old")
    for outcome in await asyncio.gather(*(asyncio.to_thread(stack.rotate, key) for key in HIGH_VOLUME)):
        assert outcome.code == 0, outcome.err
    new = boxes[1].encrypt(b"new", AAD), macs[1].compute(b"new")
    before = {await transport(keys, name) for keys in two for name in HIGH_VOLUME}
    assert len(before) == len(two), "one for each dependent, whatever the key"
    await asyncio.to_thread(stack.kill, "distributor")
    await asyncio.to_thread(stack.ready, "distributor")
    async with rekey.connect(settings(stack, "orders", 2)) as late:
        box, mac = await late.keyring(rows), await late.mac(events)
        for data, (ciphertext, tag) in ((b"old", old), (b"new", new)):
            assert box.decrypt(ciphertext, AAD) == data
            mac.verify(tag, data)
        assert await transport(late, rows) not in before
    assert boxes[0].decrypt(new[0], AAD) == b"new"


@pytest.mark.parametrize(
    ("surface", "name", "hint"),
    [
        ("keyring", "envelope-root", "use envelope() or remote_keyring(), not keyring()"),
        ("keyring", "webhook-mac", "use mac(), not keyring()"),
        ("mac", TOKEN, "use signer(), not mac()"),
        ("envelope", DATA, "use keyring(), not envelope()"),
    ],
)
async def test_the_wrong_method_for_a_key_says_which_one_is_right(
    two: Two, surface: str, name: str, hint: str
) -> None:
    with pytest.raises(UsageRefusedError) as caught:
        await getattr(two[1], surface)(name)
    assert caught.value.hint == hint


async def test_a_class_that_the_hsm_cannot_have_is_refused_by_the_name_of_its_limit(
    stack: RunningStack,
) -> None:
    outcome = await register(stack, "token-eddsa", "token-signing-eddsa")
    assert outcome.code == 4, outcome.err
    assert "HSM profile softhsm-2.6 cannot wrap Ed25519 private keys" in outcome.err
    assert "token-signing-es384" in outcome.err


async def test_use_inside_the_hsm_needs_a_lease_for_that_key_and_the_operation_that_it_is_for(
    stack: RunningStack, two: Two
) -> None:
    root, ours = "envelope-root", two[0]
    await ours.envelope(root)
    version, token = ours.status()[root].current, ours.status()[TOKEN].current
    assert version is not None
    assert token is not None
    sealed, requests = ours._members.first.sealed, ours._members.first.requests  # noqa: SLF001 - the SDK itself would not ask
    for attempt in (
        sealed.mac(root, version, b"data"),
        requests.sign(root, version, b"data"),
        sealed.encrypt(TOKEN, token, b"data", AAD),
        sealed.verify(TOKEN, token, b"data", b"\x01" * 37),
    ):
        with pytest.raises(UsageRefusedError, match="inside the HSM is not what it is for"):
            await attempt
    with pytest.raises(NotFoundError):
        await sealed.decrypt(root, version + 100, bytes(40), AAD)
    async with rekey.connect(settings(stack, "billing", 2)) as other:
        await other.keyring(DATA)
        with pytest.raises(ExpiredError, match="no lease"):
            await other._members.first.sealed.encrypt(root, version, b"data", AAD)  # noqa: SLF001 - as above
