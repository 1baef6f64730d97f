"""A version is destroyed by two people's word, with a delay by the clock of the bus, and never comes back.

Everything runs, and an application uses the keys all the time. What the fold refuses is in
``tests/unit/rekey_core/test_destruction.py``; here it is what processes, bus and HSM make of it, and what a kill leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

import rekey
from rekey_core.authority import Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    CancelDestruction,
    Destroy,
    Destroyed,
    DestructionScheduled,
    DrillAttestation,
    Fact,
    Generated,
    RefusalAnswer,
    Rotate,
    SignedCommand,
    Tombstone,
    event_id,
)
from rekey_core.drilled import open_drill
from rekey_core.envelope import BusMessage
from rekey_core.errors import ConflictError
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.system.asking import an_instance
from tests.system.backup_desk import Desk, spoil
from tests.system.destroying import (
    an_application,
    by_two,
    give,
    is_tombstone,
    ordered_by_two,
    record_of,
    rotated,
    signed_away,
    state_of,
    until_refused,
)
from tests.system.fresh_tokens import found_tokens, lose_tokens
from tests.system.postgres import Administrator
from tests.system.roll_over import rolled_over
from tests.system.stack import RunningStack, running_stack

AAD: Final = b"row 7"
SERVICES: Final = ("generator", "distributor", "rotation-scheduler", "audit")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("destroy"), registered=False, instances=False) as running:
        yield running


@pytest.fixture
async def watcher(stack: RunningStack) -> AsyncIterator[Intruder]:
    """Sees the bus from inside, and knows every signing key."""
    async with intruder(stack) as one:
        yield one


async def test_two_people_destroy_a_version_and_every_instance_removes_it(
    stack: RunningStack, watcher: Intruder, directory: Path
) -> None:
    data, token = a_key(), a_key("token")
    await watcher.registered(data)
    await watcher.registered(token, "token-signing")
    async with an_application(stack) as keys, an_instance(watcher) as asker:
        box, signer = await keys.keyring(data), await keys.signer(token)
        old, jwt = box.encrypt(b"data", AAD), await signer.sign_jwt({"sub": "a"})
        await rotated(watcher, data)
        await rotated(watcher, token)
        assert await asker.material(data) is None, "sealed, so given"
        line = ("alice", "key", "destroy", f"{data}@1", "--reason", "x", "--plan")
        plan = await asyncio.to_thread(stack.rekey, *line)
        assert "version 1 (deactivated since" in plan.out
        assert "held now by orders/" in plan.out
        await give(watcher, token, by_two(watcher, token))
        await asyncio.to_thread(
            ordered_by_two, stack, data, directory
        )  # returns when the instance has signed
        await watcher.until(token, lambda s: state_of(s) is VersionState.DESTROYED)
        with pytest.raises(rekey.VersionDestroyedError, match=f"{data}@1 was destroyed"):
            box.decrypt(old, AAD)
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
        assert (await signed_away(watcher, data)).destroyed == (1,)
        await until_refused(signer, jwt)
        assert len(signer.jwks()["keys"]) == 1
        assert signer.verify_jwt(await signer.sign_jwt({"sub": "b"}))["sub"] == "b"
        for answer in (await asker.material(data), await asker.probe(token)):
            assert isinstance(answer, RefusalAnswer)
            assert (answer.code, answer.retry) == ("state-refused", False)
    for key in (data, token):
        assert is_tombstone(watcher, await record_of(watcher, key))
    told = stack.history(data).entries[-1]
    assert (told.event, told.author, told.version) == ("destroyed", "generator", 1)
    assert "not claimed: copies-in-bus-storage-and-backups" in told.detail
    assert stack.show(data).counts == {"active": 1, "destroyed": 1}


async def test_a_destruction_is_cancelled_by_somebody_who_sees_it(
    stack: RunningStack, watcher: Intruder
) -> None:
    key = a_key()
    await watcher.registered(key)
    before = await rotated(watcher, key)
    await give(watcher, key, by_two(watcher, key, delay_s=3600))
    await watcher.until(key, lambda s: s.destructions() == (1,))
    blind = await watcher.give(
        watcher.command(CancelDestruction, "alice", key, version=1, seen=before.last_sequence)
    )
    place = watcher.subjects.command(CancelDestruction.VERB, key, command_id(blind))
    assert (await watcher.report(Service.ROTATION_SCHEDULER, place)).code == "state-refused"
    await asyncio.to_thread(stack.until, lambda: stack.show(key).versions[0].destruction is not None)
    outcome = stack.rekey("alice", "key", "destroy-cancel", f"{key}@1", "--reason", "still needed")
    assert outcome.code == 0, outcome.err
    after = await watcher.until(key, lambda s: s.destructions() == ())
    assert (after.voids, state_of(after)) == ((), VersionState.DEACTIVATED)
    assert not is_tombstone(watcher, await record_of(watcher, key))
    alone = watcher.signed(watcher.command(Destroy, "alice", key, version=1))
    await give(watcher, key, alone)
    place = watcher.subjects.command(Destroy.VERB, key, command_id(alone))
    assert (await watcher.report(Service.ROTATION_SCHEDULER, place)).code == "authority"


async def test_what_a_killed_generator_leaves_on_either_side_of_the_tombstone_ends_the_same_and_for_good(
    stack: RunningStack, watcher: Intruder, tmp_path: Path
) -> None:
    at, after, _ = keys = a_key(), a_key(), a_key()
    for key in keys:
        await watcher.registered(key)
        await rotated(watcher, key)
    rows, older = Administrator(stack.layout, stack.plan), tmp_path / "older.dump"
    await asyncio.to_thread(rows.dump, older)
    record, command = await record_of(watcher, after), by_two(watcher, after)
    stack.kill("generator")
    stack.hold("generator")  # as killed before the tombstone of some and right after that of another
    for key in keys:
        await give(watcher, key, command if key == after else by_two(watcher, key))
        await watcher.until(key, lambda s: s.destructions() == (1,))
    place = await buried(watcher, after)
    async with an_instance(watcher) as asker:
        answer = await asker.material(after)
        assert isinstance(answer, RefusalAnswer)
        assert (answer.code, answer.retry) == (
            "state-refused",
            False,
        )  # the blob is gone; the log will say so
    stack.release("generator")
    await watcher.message(
        Stream.MATERIAL, watcher.subjects.material(at, 1), lambda m: is_tombstone(watcher, m)
    )
    stack.kill("generator")  # whatever it was doing
    for key in keys:
        await watcher.until(key, lambda s: state_of(s) is VersionState.DESTROYED)
        assert await watcher.voids(key) == []
    done = (await watcher.state(after)).versions[1].destroyed
    assert done is not None
    assert done.model.tombstone == place  # the one that was there: adopted, not written again
    stack.ready("generator")
    await asyncio.to_thread(rows.restore, older)  # in which every version is there
    await never_back(watcher, after, record, command)


async def buried(watcher: Intruder, key: str) -> int:
    """The tombstone as a generator leaves it that dies right after it; where it stands."""
    pending = (await watcher.state(key)).versions[1].pending
    assert pending is not None
    cause = str(pending.scheduled.model.id)
    tombstone = Tombstone(env=watcher.env, key=key, version=1, cause=cause, at=datetime.now(UTC))
    packed = watcher.pack(tombstone, Service.GENERATOR)
    return await watcher.store(watcher.subjects.material(key, 1), packed.data, packed.headers)


async def never_back(watcher: Intruder, key: str, record: BusMessage, command: SignedCommand) -> None:
    """Not by the old record, a second generated, the command again, or services that start anew on an old database."""
    stack = watcher.stack
    with pytest.raises(ConflictError):
        await give(watcher, key, command)
    state = await watcher.state(key)
    made = state.versions[1].generated
    assert made is not None
    again = made.model.model_copy(
        update={"checked": state.last_sequence, "id": state.versions[2].requested.model.id}
    )
    assert isinstance(again, Generated)
    await watcher.append(again, Service.GENERATOR)
    stack.hold("generator")
    old = await watcher.store(record.subject, record.data, record.headers)
    for name in SERVICES[1:]:
        stack.kill(name)
    for name in SERVICES[1:]:
        stack.ready(name)
    async with an_instance(watcher) as asker:
        answer = await asker.material(key)
        assert isinstance(answer, RefusalAnswer)
        assert answer.code == "state-refused"
    stack.release("generator")
    found = await watcher.message(Stream.MATERIAL, record.subject, lambda m: m.sequence > old)
    assert is_tombstone(watcher, found)
    assert (await watcher.report(Service.GENERATOR, record.subject)).code == "record"
    after = await watcher.state(key)
    assert (state_of(after), len(after.voids)) == (VersionState.DESTROYED, 1)
    assert stack.show(key).counts == {"active": 1, "destroyed": 1}


async def test_a_taken_over_service_destroys_nothing(watcher: Intruder) -> None:
    """The scheduler with one person's word, the generator with nobody's: void, an alarm, and the version is given out."""
    key = a_key()
    await watcher.registered(key)
    await rotated(watcher, key)
    alone = watcher.signed(watcher.command(Destroy, "alice", key, version=1))
    said = {"not_before": datetime.now(UTC), "command": alone}
    place = await forged(watcher, key, DestructionScheduled, command_id(alone), **said)
    assert (await watcher.report(Service.AUDIT, place)).code == "schema"
    made = (await watcher.state(key)).versions[1].generated
    assert made is not None
    body = {
        "blob_digest": made.model.blob_digest,
        "epoch": 1,
        "tombstone": 1,
        "claimed": (),
        "not_claimed": (),
    }
    place = await forged(watcher, key, Destroyed, "nobody", **body)
    assert (await watcher.report(Service.AUDIT, place)).code == "illegal-transition"
    state = await watcher.state(key)
    assert (state_of(state), state.destructions(), len(state.voids)) == (VersionState.DEACTIVATED, (), 2)
    async with an_instance(watcher) as asker:
        assert await asker.material(key) is None, "sealed, so given"
    assert not is_tombstone(watcher, await record_of(watcher, key))


async def forged(watcher: Intruder, key: str, kind: type[Fact], cause: str, **said: Any) -> str:
    """The next fact of the key about version 1, signed by its real author; where it stands."""
    state = await watcher.state(key)
    common = {"id": event_id(cause, kind.TYPE, state.env, key, 1), "env": state.env, "key": key, "version": 1}
    common |= {"author": kind.AUTHOR, "checked": state.last_sequence, "cause": cause}
    common |= {"policy": POLICY_DIGEST, "at": datetime.now(UTC)}
    return await watcher.append(kind.model_validate(common | said), kind.AUTHOR)


@pytest.mark.matrix
async def test_a_kek_epoch_ends_when_nothing_lies_under_it_and_nobody_notices(
    stack: RunningStack, watcher: Intruder, tmp_path: Path
) -> None:
    keys = data, token = a_key(), a_key("token")
    await watcher.registered(data)
    await watcher.registered(token, "token-signing")
    restarts = [stack.keeper(name).restarts for name in SERVICES]
    async with an_application(stack) as app:
        box, signer = await app.keyring(data), await app.signer(token)
        old = box.encrypt(b"data", AAD)
        await rolled_over(watcher, tmp_path, keys)
        assert box.decrypt(old, AAD) == b"data", "it lies under an older epoch, which stays"
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
        assert signer.verify_jwt(await signer.sign_jwt({"sub": "a"}))["sub"] == "a"
    assert [stack.keeper(name).restarts for name in SERVICES] == restarts, "nobody had to start again"


async def test_every_backup_is_proved_and_a_restore_is_tried_by_a_quorum_alone(
    stack: RunningStack, watcher: Intruder, tmp_path: Path
) -> None:
    """The program as people start it; the stack goes on, and nothing of the sandbox reaches it."""
    desk, data, envelope = Desk(stack, tmp_path), a_key(), a_key("envelope")
    await watcher.registered(data)
    await watcher.registered(envelope, "data-key-wrapping")
    async with an_application(stack) as keys:
        document = await (await keys.envelope(envelope)).encrypt(b"document", AAD)
    (tmp_path / "document").write_bytes(document)
    (tmp_path / "altered").write_bytes(document[:20] + bytes([document[20] ^ 1]) + document[21:])
    await rotated(watcher, data)
    await give(watcher, data, by_two(watcher, data))
    await watcher.until(data, lambda s: state_of(s) is VersionState.DESTROYED)
    desk.export()
    code, said, words = desk.run("verify", "--bundle", desk.file("bundle"))
    assert (code, said["problems"]) == (0, []), words
    assert said["verified"] >= 2
    assert said["destroyed"] >= 1
    code, _, words = desk.drill("oliver")
    assert (code, (tmp_path / "attestation").exists()) == (4, False)
    assert "expected 2 officers, found 1" in words
    assert desk.drill("olga", "olga")[0] == 4, "one officer twice is one officer"
    code, drilled, words = desk.drill("oliver", "odile", document=f"{envelope}={desk.file('document')}")
    assert (code, drilled["problems"], drilled["restored"]) == (0, [], said["verified"]), words
    assert drilled["opened"] == 1
    check = [f"--{name}={desk.file(name)}" for name in ("bundle", "attestation")]
    assert desk.run("check", *check, *desk.signed("attestation", "olga"))[0] == 4
    code, attested, words = desk.run("check", *check, *desk.signed("attestation", "oliver", "olga"))
    assert (code, attested["valid"], attested["restored"]) == (0, True, said["verified"]), words
    code, words = desk.attested("olga")
    assert (code, "authority: DrillAttestation: expected 2 officers, found 1" in words) == (4, True)
    plan = desk.attested("olga", "odile", plan=True)
    assert (plan[0], await watcher.last(Stream.REPORTS, f"rpt.{watcher.env}.audit.attestation.*")) == (
        0,
        None,
    )
    assert [desk.attested("olga", "odile")[0] for _ in range(2)] == [0, 0], "again is no change"
    record = await watcher.last(Stream.REPORTS, f"rpt.{watcher.env}.audit.attestation.*")
    assert record is not None
    drill = open_drill(record, watcher.trust)
    assert (drill.officers, drill.found.is_passed, drill.found.checked) == (
        ("odile", "olga"),
        True,
        said["verified"],
    )
    await spoil(watcher, desk, data)
    code, drilled, words = desk.drill("oliver", "olga", document=f"{envelope}={desk.file('altered')}")
    assert (code, drilled["restored"], drilled["checked"]) == (1, said["verified"], said["verified"] + 1)
    wrong = DrillAttestation.model_validate_json((tmp_path / "attestation").read_bytes())
    assert (wrong.is_passed, list(wrong.failures)) == (False, drilled["problems"]), (
        "failures are attested by name"
    )
    assert f"{data}@3: the backup token has no key bek-" in words
    assert f"{data}@1: it is destroyed, and its backup still stands" in words
    assert f"{envelope}@1: the old ciphertext does not open" in words
    assert len(drilled["problems"]) == 3


async def test_both_tokens_are_lost_and_everything_comes_back_but_what_was_destroyed(
    stack: RunningStack, watcher: Intruder, tmp_path: Path
) -> None:
    """A restore for real, killed half-way on both sides of the bus; whoever has data reads it again."""
    desk, data, envelope, gone, epoch = Desk(stack, tmp_path), a_key(), a_key("envelope"), a_key(), 11
    for key, key_class in (
        *dict.fromkeys((data, gone), "application-data").items(),
        (envelope, "data-key-wrapping"),
    ):
        await watcher.registered(key, key_class)
    async with an_application(stack) as keys:
        box, root = await keys.keyring(data), await keys.envelope(envelope)
        old = [box.encrypt(b"data", AAD)]
        sealed = await root.encrypt(b"document", AAD)
        await rotated(watcher, data)
        old.append(box.encrypt(b"data", AAD))
    await rotated(watcher, gone)
    await give(watcher, gone, by_two(watcher, gone))
    before = {gone: await watcher.until(gone, lambda s: state_of(s) is VersionState.DESTROYED)}
    before |= {key: await watcher.state(key) for key in (data, envelope)}
    desk.export()
    await asyncio.to_thread(lose_tokens, stack)
    await asyncio.to_thread(found_tokens, stack, epoch)
    plan = desk.planned_restore()
    assert {f"{data}@1", f"{data}@2", f"{envelope}@1", f"{gone}@2"} <= set(plan)
    assert f"{gone}@1" not in plan
    assert desk.restored(epoch) == len(plan)
    for service in ("generator", "distributor"):
        await asyncio.to_thread(stack.release, service)
    assert (desk.planned_import(), desk.planned_import()) == (len(plan), len(plan)), "a plan changes nothing"
    half = desk.start("import", "--restored", desk.file("restored"), settings="settings.toml")
    await watcher.until(data, lambda s: any(v.restored for v in s.versions.values()))
    half.kill()
    half.communicate()
    stack.kill("generator")  # whatever it was doing
    stack.ready("generator")
    code, said, words = desk.run("import", "--restored", desk.file("restored"), settings="settings.toml")
    assert (code, said["restored"] + said["restored_before"]) == (0, len(plan)), words
    assert desk.planned_import() == 0
    for key, was in before.items():
        now = await watcher.state(key)
        assert (now.voids, now.states()) == (was.voids, was.states())
        lies = {v.wrapped.epoch for v in now.versions.values() if v.wrapped and v.destroyed is None}
        assert lies == {epoch}
    assert is_tombstone(watcher, await record_of(watcher, gone))
    assert f"{gone}@1 is destroyed and is never restored" in desk.offered_as(f"{data}@1", gone)
    async with an_application(stack) as keys:
        box, root = await keys.keyring(data), await keys.envelope(envelope)
        assert [box.decrypt(one, AAD) for one in old] == [b"data", b"data"]
        assert await root.decrypt(sealed, AAD) == b"document"
        await watcher.give(watcher.command(Rotate, "alice", data))
        after = await watcher.until(data, lambda s: s.current == 3)
        made, backed_up = after.versions[3].generated, after.versions[3].backed_up
        assert made is not None
        assert backed_up is not None
        assert (made.model.epoch, backed_up.model.backup_epoch) == (epoch + 1, epoch + 1)
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
