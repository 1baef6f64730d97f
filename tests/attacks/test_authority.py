"""One service is taken over: its certificate, its signing key, every right it has. What it may not decide has no effect.

Each forged message is signed with the service's real key and stored by its real account, so that neither bus nor signature
can tell; what tells is the authority that is missing inside. The others leave it out, and audit raises the alarm.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

import rekey
from rekey_core.authority import Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    Activated,
    Command,
    Compromised,
    Fact,
    Force,
    Generated,
    Granted,
    Notice,
    Register,
    Registered,
    Resume,
    Resumed,
    Revoke,
    Rotate,
    RotationRequested,
    SignedCommand,
    Stop,
    StoppedVersion,
    Suspend,
    Suspended,
    Waive,
    Waived,
    Whom,
    event_id,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import sign
from rekey_core.fold import KeyState
from rekey_core.names import Algorithm, Release, Service
from rekey_core.policy import class_named
from rekey_local.settings import instance_settings
from tests.attacks.forging import a_fact, forge, say
from tests.attacks.intruder import Intruder, a_key, intruder, poll
from tests.system.stack import RunningStack, running_stack

SCHEDULER: Final = Service.ROTATION_SCHEDULER
AAD: Final = b"row 7"
MADE: Final = {
    "algorithm": Algorithm.AES_256_GCM,
    "release": Release.TRUSTED_RECIPIENT,
    "epoch": 1,
    "key_id": 7,
    "blob_digest": "a" * 64,
    "commitment": "b" * 64,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("authority"), registered=False, instances=False) as running:
        yield running


@pytest.fixture
async def watcher(stack: RunningStack) -> AsyncIterator[Intruder]:
    """Sees the bus from inside, and knows every signing key."""
    async with intruder(stack) as one:
        yield one


def a_registration(
    watcher: Intruder, key: str, author: str = "alice", by: str | None = None
) -> SignedCommand:
    """A command to register a key for orders alone."""
    said = {"key_class": "application-data", "purpose": "rows", "dependents": ("orders",)}
    return watcher.signed(watcher.command(Register, author, key, **said), by)


def registered(state: KeyState, signed: SignedCommand, **said: Any) -> Fact:
    """What the scheduler would say of such a command by alice."""
    key_class = class_named("application-data")
    common = {
        "owner": "alice",
        "key_class": key_class.name,
        "algorithm": key_class.algorithm,
        "release": key_class.release,
        "purpose": "rows",
        "cryptoperiod_s": key_class.cryptoperiod_s,
        "command": signed,
    }
    return a_fact(Registered, state, 0, command_id(signed), **(common | said))


async def has_no_effect(watcher: Intruder, state: KeyState, subject: str) -> str:
    """The fact is void and nothing else, audit alarms; the alarm's code."""
    alarm = await watcher.report(Service.AUDIT, subject)
    after = await watcher.state(state.key)
    assert subject in [void.subject for void in after.voids]
    assert (after.registered, after.grants, after.versions, after.current) == (
        state.registered,
        state.grants,
        state.versions,
        state.current,
    )
    assert after.undecidable is None
    return alarm.code


REGISTRATIONS = [
    pytest.param("alice", "rita", {}, None, "signature", id="a command that its author did not sign"),
    pytest.param("rita", None, {"owner": "rita"}, None, "schema", id="a command by a person who is no owner"),
    pytest.param("otto", None, {"owner": "otto"}, None, "schema", id="a command by an owner of other keys"),
    pytest.param("alice", None, {"owner": "otto"}, None, "schema", id="alice's command, but another owner"),
    pytest.param(
        "alice", None, {"purpose": "more"}, None, "schema", id="alice's command, but another purpose"
    ),
    pytest.param(
        "alice", None, {"cryptoperiod_s": 1}, None, "schema", id="alice's command, but a shorter period"
    ),
    pytest.param("alice", None, {}, "orders-other", "schema", id="alice's command for another key"),
]


@pytest.mark.parametrize(("author", "by", "said", "other_key", "code"), REGISTRATIONS)
async def test_a_taken_over_scheduler_cannot_register(
    watcher: Intruder, author: str, by: str | None, said: dict[str, Any], other_key: str | None, code: str
) -> None:
    key = a_key()
    state = await watcher.state(key)
    signed = a_registration(watcher, other_key or key, author, by)
    subject = await forge(watcher, registered(state, signed, **said))
    assert await has_no_effect(watcher, state, subject) == code
    await nothing_is_made(watcher, key)


async def nothing_is_made(watcher: Intruder, key: str) -> None:
    """The scheduler goes on with a request for version 1: the generator refuses."""
    state = await watcher.state(key)
    deadline = datetime.now(UTC) + timedelta(minutes=1)
    subject = await forge(
        watcher, a_fact(RotationRequested, state, 1, "forged", reason="initial", deadline=deadline)
    )
    assert (await watcher.report(Service.GENERATOR, subject)).code == "state-refused"
    assert await watcher.last(Stream.MATERIAL, watcher.subjects.material(key, 1)) is None


async def test_a_taken_over_scheduler_cannot_register_without_or_with_an_altered_command(
    watcher: Intruder,
) -> None:
    for wanted in ("schema", "signature"):
        key = a_key()
        state = await watcher.state(key)
        signed = a_registration(watcher, key)
        if wanted == "signature":
            payload = b64u_decode(signed.payload).replace(b'["orders"]', b'["billing","orders"]')
            signed = signed.model_copy(update={"payload": b64u_encode(payload)})
        fact = registered(state, signed)
        subject = watcher.subjects.fact(key, 0, fact.author, fact.EVENT, fact.id.hex)
        body = json.loads(fact.model_dump_json())
        if wanted == "schema":
            del body["command"]
        packed = watcher.pack(fact, SCHEDULER)
        data = json.dumps(body).encode()
        signature = b64u_encode(watcher.key_of(SCHEDULER).sign(fact.TYPE, data))
        await say(watcher, SCHEDULER, subject, data, {**packed.headers, "ce-dssesignature": signature})
        assert await has_no_effect(watcher, state, subject) == wanted
        await nothing_is_made(watcher, key)


async def test_a_taken_over_scheduler_cannot_grant(watcher: Intruder) -> None:
    """Neither with the key's own command, nor with one that names the dependent for another key, nor with a forged one."""
    key = a_key()
    state = await watcher.registered(key, dependents=("orders",))
    assert state.registered is not None
    both = {"key_class": "application-data", "purpose": "rows", "dependents": ("billing", "orders")}
    commands = {
        "its own": getattr(state.registered.model, "command"),  # noqa: B009 - Fact has none, Registered does
        "of another key": watcher.signed(watcher.command(Register, "alice", a_key(), **both)),
        "of another owner": watcher.signed(watcher.command(Register, "otto", key, **both)),
        "not signed by alice": watcher.signed(watcher.command(Register, "alice", key, **both), by="otto"),
    }
    for name, signed in commands.items():
        state = await watcher.state(key)
        fact = a_fact(Granted, state, 0, command_id(signed), dependent="billing", command=signed)
        fact = fact.model_copy(update={"id": event_id(name, Granted.TYPE, state.env, key, 0)})
        await has_no_effect(watcher, state, await forge(watcher, fact))
    assert (await watcher.state(key)).grants == {"orders"}
    await watcher.settled()
    assert await watcher.last(Stream.NOTICES, watcher.subjects.notice("billing", key)) is None
    settings = rekey.Settings.load(instance_settings(watcher.stack.layout, "billing", 1))
    async with rekey.connect(settings) as keys:
        with pytest.raises(rekey.RekeyError, match=key):
            await keys.keyring(key)


@pytest.mark.parametrize(
    "author", [None, "rita", "otto"], ids=["nobody", "somebody without role", "another owner"]
)
async def test_a_taken_over_scheduler_cannot_rotate_in_the_name_of_a_person(
    watcher: Intruder, author: str | None
) -> None:
    state = await watcher.registered(a_key())
    signed = watcher.signed(watcher.command(Rotate, author, state.key)) if author else None
    cause = command_id(signed) if signed else "forged"
    deadline = datetime.now(UTC) + timedelta(minutes=1)
    said = {"reason": "person", "deadline": deadline, "command": signed}
    subject = await forge(watcher, a_fact(RotationRequested, state, 2, cause, **said))
    assert await has_no_effect(watcher, state, subject) == "schema"
    assert (await watcher.report(Service.GENERATOR, subject)).code == "state-refused"
    assert await watcher.last(Stream.MATERIAL, watcher.subjects.material(state.key, 2)) is None


WAIVERS = [
    pytest.param(Rotate, "alice", {}, id="by a command that says something else"),
    pytest.param(Waive, "rita", {"dependent": "orders"}, id="by a responder"),
    pytest.param(
        Waive, "alice", {"dependent": "orders", "version": 2}, id="by the owner, for another version"
    ),
    pytest.param(Waive, "alice", {"dependent": "billing"}, id="by the owner, of somebody else"),
    pytest.param(Force, "alice", {}, id="by one person"),
]


@pytest.mark.parametrize(("kind", "author", "fields"), WAIVERS)
async def test_a_taken_over_scheduler_cannot_pass_anybody_over(
    watcher: Intruder, kind: type[Command], author: str, fields: dict[str, Any]
) -> None:
    state = await watcher.registered(a_key())
    version = {} if kind is Rotate else {"version": 1}
    signed = watcher.signed(watcher.command(kind, author, state.key, **(version | fields)))
    said = {"whom": (Whom(dependent="orders"),), "command": signed}
    subject = await forge(watcher, a_fact(Waived, state, 1, command_id(signed), **said))
    assert await has_no_effect(watcher, state, subject) == "schema"


@pytest.mark.parametrize("version", [1, 2], ids=["a second time", "without a request"])
async def test_a_taken_over_generator_cannot_make_a_version_that_nobody_asked_for(
    watcher: Intruder, version: int
) -> None:
    state = await watcher.registered(a_key())
    subject = await forge(watcher, a_fact(Generated, state, version, "forged", **MADE))
    assert await has_no_effect(watcher, state, subject) == "illegal-transition"
    await watcher.settled()
    found = await watcher.last(Stream.NOTICES, watcher.subjects.notice("orders", state.key))
    assert found is not None
    assert [v.version for v in Notice.model_validate_json(found.data).versions] == [1]


@pytest.mark.parametrize("kind", [Suspended, Compromised], ids=["suspend", "revoke"])
async def test_a_taken_over_revocation_cannot_stop_in_the_log_without_a_responder(
    watcher: Intruder, kind: type[Fact]
) -> None:
    state = await watcher.registered(a_key())
    verb = Suspend if kind is Suspended else Revoke
    for author, by in (("alice", None), ("rita", "alice")):
        signed = watcher.signed(watcher.command(verb, author, state.key, version=1), by)
        now = await watcher.state(state.key)
        await has_no_effect(
            watcher, now, await forge(watcher, a_fact(kind, now, 1, command_id(signed), command=signed))
        )
    assert (await watcher.state(state.key)).current == 1


async def test_a_taken_over_revocation_cannot_resume_without_two_people_who_saw_it(watcher: Intruder) -> None:
    key = a_key()
    await watcher.registered(key)
    await watcher.give(watcher.command(Suspend, "rita", key, version=1))
    state = await watcher.until(key, lambda s: s.current is None)
    # nobody else, another scope, an older state
    for other, seen in ((None, 0), ("otto", 0), ("alice", -1)):
        now = await watcher.state(key)
        said = {"version": 1, "seen": now.last_sequence + seen, "lifts": state.versions[1].lifts}
        command = watcher.command(Resume, "rita", key, **said)
        signed = await watcher.give_by_two(command, other) if other else watcher.signed(command)
        fact = a_fact(Resumed, now, 1, command_id(signed), command=signed)
        await has_no_effect(watcher, now, await forge(watcher, fact))
    await watcher.settled()
    notice = await watcher.last(Stream.NOTICES, watcher.subjects.notice("orders", key))
    assert notice is not None
    assert Notice.model_validate_json(notice.data).versions == ()


@asynccontextmanager
async def an_application(stack: RunningStack, key: str) -> AsyncIterator[tuple[rekey.Keys, rekey.Keyring]]:
    """An instance of orders that has the key."""
    async with rekey.connect(rekey.Settings.load(instance_settings(stack.layout, "orders", 1))) as keys:
        yield keys, await keys.keyring(key)


async def shown(watcher: Intruder, key: str, what: Notice | Stop, service: Service) -> None:
    """Put a notice or stop where the application reads it, and give it the time to."""
    subject = watcher.subjects.notice("orders", key)
    if isinstance(what, Stop):
        subject = watcher.subjects.stop("orders", key)
    packed = watcher.pack(what, service)
    await say(watcher, service, subject, packed.data, packed.headers)
    await asyncio.sleep(1.0)  # that something does not happen has no event; a poke takes some milliseconds


async def test_a_taken_over_revocation_cannot_stop_an_application_without_a_responder(
    stack: RunningStack, watcher: Intruder
) -> None:
    key = a_key()
    await watcher.registered(key)
    async with an_application(stack, key) as (keys, box):
        before = box.encrypt(b"data", AAD)
        forged = [
            watcher.signed(watcher.command(Suspend, "alice", key, version=1)),
            watcher.signed(watcher.command(Revoke, "rita", key, version=1), by="alice"),
            watcher.signed(watcher.command(Revoke, "rita", a_key(), version=1)),
        ]
        entries = tuple(_stopped(signed) for signed in forged)
        stop = Stop(env=watcher.env, dependent="orders", key=key, at=datetime.now(UTC), stopped=entries)
        await shown(watcher, key, stop, Service.REVOCATION)
        assert keys.status()[key].stopped == ()
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == box.decrypt(before, AAD)
        await watcher.give(watcher.command(Suspend, "rita", key, version=1))  # and the real word is heard

        async def stopped() -> bool | None:
            return keys.status()[key].stopped == (1,) or None

        assert await poll(stopped)


def _stopped(signed: SignedCommand) -> StoppedVersion:
    return StoppedVersion(version=1, command=signed)


async def test_a_taken_over_distributor_cannot_make_an_application_switch(
    stack: RunningStack, watcher: Intruder
) -> None:
    """Version 2 is held by the application and not activated; the notice says that it is current."""
    key = a_key()
    await watcher.registered(key)
    async with an_application(stack, key) as (keys, box):
        stack.hold(SCHEDULER)  # nobody activates version 2
        try:
            state = await watcher.state(key)
            said = {"reason": "time", "deadline": datetime.now(UTC) + timedelta(minutes=1)}
            await forge(watcher, a_fact(RotationRequested, state, 2, "time-2", **said))

            async def holds_both() -> bool | None:
                return keys.status()[key].held == (1, 2) or None

            assert await poll(holds_both)
            for facts in ("none", "of version 1", "by the distributor"):
                stack.hold(Service.DISTRIBUTOR)
                await shown(watcher, key, await a_forged_notice(watcher, key, facts), Service.DISTRIBUTOR)
                assert keys.status()[key].current == 1, facts
            first = (await watcher.state(key)).versions[1].generated
            assert first is not None
            assert int.from_bytes(box.encrypt(b"data", AAD)[1:5], "big") == first.model.key_id
            for _ in range(5):  # the log passes the place that the forged notices had claimed to know
                elsewhere = await watcher.state(a_key())
                await forge(watcher, a_fact(Generated, elsewhere, 1, "forged", **MADE))
        finally:
            stack.release(SCHEDULER)
            stack.release(Service.DISTRIBUTOR)

        async def switched() -> bool | None:
            return keys.status()[key].current == 2 or None

        assert await poll(switched)  # on the scheduler's own word


async def a_forged_notice(watcher: Intruder, key: str, facts: str) -> Notice:
    """The real notice of the key, but version 2 is said to be active and current."""
    stored = await watcher.last(Stream.NOTICES, watcher.subjects.notice("orders", key))
    assert stored is not None
    real = Notice.model_validate_json(stored.data)
    state = await watcher.state(key)
    extra = [f for f in real.facts if f.type != Activated.TYPE]
    if facts == "of version 1":
        assert state.versions[1].activated is not None
        extra.append(state.versions[1].activated.signed)
    if facts == "by the distributor":
        activated = a_fact(Activated, state, 2, "forged", proved=())
        extra.append(sign(activated, watcher.key_of(Service.DISTRIBUTOR)))
    versions = tuple(v.model_copy(update={"state": "active"}) for v in real.versions)
    said = {"as_of": real.as_of + 1, "current": 2, "versions": versions, "facts": tuple(extra)}
    return real.model_copy(update=said)
