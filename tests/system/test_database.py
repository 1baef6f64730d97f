"""Rows against a real PostgreSQL and a real log: whatever becomes of the database, they come to be what the log says."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekey_audit.handlers import Audit
from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, ConflictError, RetryableError
from rekey_core.names import Service
from rekey_core.projections import PROJECTIONS
from rekey_rotation_scheduler.rows import VERSION, KeyAdoption, adoption_row
from rekey_runtime.bus import Bus
from rekey_runtime.database import Applied, Database, DatabaseAwayError, Row
from rekey_runtime.keylog import KeyLog
from rekey_runtime.projector import Projector, database_of
from tests.system.a_long_log import Written, folded, whole
from tests.system.bus import RunningBus, running_bus
from tests.system.postgres import Server, running_postgres

TRIES = 5
LIMIT_S = 30
ROW = Row("orders-db", 7, '{"it": 1}')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with running_bus(tmp_path_factory.mktemp("log"), people=("alice", "otto", "rita", "adam")) as bus:
        yield Environment(bus, Written(bus))


@dataclass
class Environment:
    """A bus and what stands in its log; each test adds what it needs."""

    bus: RunningBus
    written: Written
    keys: int = 0

    async def some_keys(self, count: int, versions: int = 1) -> None:
        for _ in range(count):
            self.written.a_key(f"orders-{self.keys:05}", versions)
            self.keys += 1
        await self.written.publish()


@pytest.fixture
async def empty(server: Server) -> Server:
    """The database as the provisioner makes it."""
    await server.drop()
    await server.provision()
    return server


@asynccontextmanager
async def scheduler(written: Environment, server: Server) -> AsyncIterator[tuple[Bus, Projector]]:
    async with written.bus.service_bus(Service.ROTATION_SCHEDULER) as bus:
        keylog = KeyLog(bus)

        async def row(key: str) -> Row:
            return adoption_row(await keylog.state(key))

        database = database_of(bus, server.url_file(Identity.ROTATION_SCHEDULER), KeyAdoption, VERSION)
        try:
            yield bus, Projector(bus, database, row)
        finally:
            await database.close()


@asynccontextmanager
async def auditor(written: Environment, server: Server) -> AsyncIterator[tuple[Bus, Audit]]:
    async with written.bus.service_bus(Service.AUDIT) as bus:
        audit = Audit(bus, server.url_file(Identity.AUDIT))
        try:
            await audit.rebuild()
            yield bus, audit
        finally:
            await projector_of(audit).close()


@asynccontextmanager
async def inventory(written: Environment, server: Server) -> AsyncIterator[tuple[Bus, Projector]]:
    async with auditor(written, server) as (bus, audit):
        yield bus, projector_of(audit)


def projector_of(audit: Audit) -> Projector:
    assert audit.projector is not None
    return audit.projector


async def acknowledge_everything(bus: Bus) -> None:
    """What audit's consumer would have come to: everything in the log was judged."""
    inbox = bus.client.new_inbox()
    answers = await bus.client.subscribe(inbox)
    for _ in range(await pending(bus)):
        await bus.client.publish("JSC.API.CONSUMER.MSG.NEXT.LIFECYCLE.audit", b"", reply=inbox)
        await (await answers.next_msg(timeout=5)).ack_sync()
    await answers.unsubscribe()
    assert await pending(bus) == 0


async def pending(bus: Bus) -> int:
    info = await bus.info("CONSUMER.INFO.LIFECYCLE.audit")
    return int(str(info["num_pending"])) + int(str(info["num_ack_pending"]))


SERVICES = {Identity.ROTATION_SCHEDULER: scheduler, Identity.AUDIT: inventory}


async def follow(projector: Projector) -> None:
    """As ``work`` would: what can be tried again is tried again."""
    for _ in range(TRIES):
        try:
            await projector.catch_up()
        except RetryableError:
            projector._at = None  # noqa: SLF001 - what work() does
        else:
            return
    raise AssertionError("the rows do not come up to the log")


async def nothing(_: Server, __: Path) -> None:
    """It is as it was."""


async def dropped(server: Server, _: Path) -> None:
    await server.drop()
    await server.provision()


async def restored(server: Server, directory: Path) -> None:
    await asyncio.to_thread(server.restore, directory / "older.dump")


async def killed(server: Server, _: Path) -> None:
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    await asyncio.to_thread(server.start)


def changed(*statements: str) -> Callable[[Server, Path], Awaitable[None]]:
    """By whoever owns the server; {0} is a service's schema, {1} its table."""

    async def change(server: Server, _: Path) -> None:
        for projection in PROJECTIONS:
            place = (
                projection.schema,
                f"{projection.schema}.{projection.table}",
                projection.role(server.plan.env),
            )
            await server.execute(*(statement.format(*place) for statement in statements))

    return change


WHATEVER = [
    pytest.param(nothing, id="nothing happened to it"),
    pytest.param(dropped, id="it was dropped and made again"),
    pytest.param(restored, id="an older one was restored"),
    pytest.param(killed, id="the server was killed"),
    pytest.param(changed("UPDATE {0}.stamp SET made_by = 'x'"), id="another program made the rows"),
    pytest.param(changed("UPDATE {0}.stamp SET place = 'evt.x'"), id="the rows are of another log"),
    pytest.param(changed("UPDATE {0}.stamp SET applied = 99999"), id="they claim more than the log has"),
    pytest.param(changed("DELETE FROM {0}.stamp"), id="the stamp is gone"),
    pytest.param(changed("ALTER TABLE {1} DROP COLUMN body"), id="a column of the rows is gone"),
    pytest.param(changed("ALTER TABLE {0}.stamp DROP COLUMN place"), id="a column of the stamp is gone"),
    pytest.param(changed("ALTER TABLE {1} ALTER COLUMN sequence TYPE text"), id="a column has another type"),
    pytest.param(
        changed("CREATE VIEW {0}.seen AS SELECT key FROM {1}", "ALTER VIEW {0}.seen OWNER TO {2}"),
        id="something of ours that nobody knows is in the schema",
    ),
]


@pytest.mark.parametrize("happens", WHATEVER)
async def test_after_a_start_the_rows_are_what_one_fold_of_the_log_says(
    written: Environment, empty: Server, tmp_path: Path, happens: Callable[[Server, Path], Awaitable[None]]
) -> None:
    await written.some_keys(1)
    await start_both(written, empty)
    await asyncio.to_thread(empty.dump, tmp_path / "older.dump")
    await written.some_keys(1)
    await start_both(written, empty)
    await happens(empty, tmp_path)
    await written.some_keys(1)
    await start_both(written, empty)
    async with written.bus.service_bus(Service.AUDIT) as bus:
        messages = await whole(bus)
        expected = folded(messages, bus.trust.current)
    for identity in SERVICES:
        assert await empty.rows(identity) == expected[identity]
        assert await empty.applied(identity) == len(messages)
        assert expected[identity].count(b"\n") == written.keys


async def start_both(written: Environment, server: Server) -> None:
    """Both services start, bring their rows up to the log, and end."""
    for service in SERVICES.values():
        async with service(written, server) as (_, projector):
            await follow(projector)


@pytest.mark.parametrize("happens", WHATEVER[:4])
async def test_a_service_that_runs_on_catches_up_by_itself(
    written: Environment, empty: Server, tmp_path: Path, happens: Callable[[Server, Path], Awaitable[None]]
) -> None:
    async with scheduler(written, empty) as (bus, projector):
        await follow(projector)
        await asyncio.to_thread(empty.dump, tmp_path / "older.dump")
        working = asyncio.create_task(projector.work())
        try:
            await written.some_keys(1)
            await happens(empty, tmp_path)
            await written.some_keys(1)
            projector.wake()
            expected = folded(await whole(bus), bus.trust.current)[Identity.ROTATION_SCHEDULER]
            async with asyncio.timeout(LIMIT_S):
                while await empty.rows(Identity.ROTATION_SCHEDULER) != expected:
                    assert not working.done()
                    await asyncio.sleep(0.05)
        finally:
            working.cancel()


async def test_what_the_provisioner_made_outlives_a_kill_of_the_server_at_once(server: Server) -> None:
    """Rows may be lost, the log has them; nobody but the provisioner can make what they stand in."""
    for _ in range(TRIES):
        await server.drop()
        await server.provision()
        await killed(server, Path())
        for projection in PROJECTIONS:
            async with a_database(server, projection.identity) as database:
                assert await database.applied() == Applied()


async def test_a_start_with_rows_reads_what_is_new_and_judges_the_rest_when_it_is_asked_for(
    written: Environment, empty: Server
) -> None:
    await written.some_keys(2)
    async with auditor(written, empty) as (bus, audit):
        await follow(projector_of(audit))
        await acknowledge_everything(bus)
    await written.some_keys(1)
    async with auditor(written, empty) as (bus, audit):
        newest = f"orders-{written.keys - 1:05}"
        assert set(audit.ledger.keys) == {newest}
        assert set(audit.ledger.recalled) == {f"orders-{n:05}" for n in range(written.keys - 1)}
        row = await audit.recalling.row("orders-00000")
        assert row.sequence == audit.ledger.keys["orders-00000"].state.last_sequence > 0
        assert len(audit.ledger.keys["orders-00000"].entries) > 0


async def test_rows_cannot_make_audit_overlook_what_it_has_not_judged(
    written: Environment, empty: Server
) -> None:
    await written.some_keys(1)
    async with auditor(written, empty) as (bus, audit):
        await follow(projector_of(audit))
        await acknowledge_everything(bus)
    judged = written.written.log.messages[-1].sequence
    await written.some_keys(1)
    place = written.written.log.messages[-1]
    async with empty.connected() as owner:
        claim = "UPDATE audit.stamp SET applied = $1, place = $2"
        await owner.execute(claim, place.sequence, place.subject)
    async with auditor(written, empty) as (_, audit):
        assert audit.ledger.unread == judged
        assert f"orders-{written.keys - 1:05}" in audit.ledger.keys


async def test_what_audit_has_not_judged_yet_is_not_read_for_its_rows_again_and_again(
    written: Environment, empty: Server
) -> None:
    """In a storm of facts audit is behind the log, and each fact that it has judged wakes its rows."""
    await written.some_keys(1)
    async with auditor(written, empty) as (bus, audit):
        await follow(projector_of(audit))
        await written.some_keys(3)
        before = bus.client.stats["in_msgs"]
        await projector_of(audit).catch_up()
        assert bus.client.stats["in_msgs"] == before


async def test_rows_that_are_none_are_not_used(written: Environment, empty: Server) -> None:
    await written.some_keys(1)
    async with auditor(written, empty) as (bus, audit):
        await follow(projector_of(audit))
        await acknowledge_everything(bus)
    await empty.execute("UPDATE audit.inventory SET body = '{}'")
    async with auditor(written, empty) as (_, audit):
        assert (audit.ledger.unread, audit.ledger.recalled) == (0, {})
        assert len(audit.ledger.keys) == written.keys


async def test_without_its_database_audit_reads_the_whole_log(written: Environment, empty: Server) -> None:
    await written.some_keys(1)
    await asyncio.to_thread(empty.stop, signal.SIGKILL)
    try:
        async with auditor(written, empty) as (_, audit):
            assert audit.ledger.unread == 0
            assert len(audit.ledger.keys) == written.keys
    finally:
        await asyncio.to_thread(empty.start)


@asynccontextmanager
async def a_database(server: Server, identity: Identity = Identity.AUDIT) -> AsyncIterator[Database]:
    database = Database(server.url_file(identity), identity, "a test")
    try:
        yield database
    finally:
        await database.close()


async def test_rows_and_their_place_are_written_together_and_only_upwards(empty: Server) -> None:
    async with a_database(empty) as database:
        assert await database.applied() == Applied()
        await database.store([ROW], after=0, applied=Applied(9, "evt.9"))
        older = Row(ROW.key, ROW.sequence - 1, "older")
        await database.store([older], after=0, applied=Applied(8, "evt.8"))
        assert await database.read() == (Applied(9, "evt.9"), [ROW])
        with pytest.raises(ConflictError, match="expected rows up to 12, found 9"):
            await database.store([Row(ROW.key, 20, "newer")], after=12, applied=Applied(20, "evt.20"))
        assert await database.read() == (Applied(9, "evt.9"), [ROW])
        await database.forget()
        assert await database.read() == (Applied(), [])


async def test_a_table_of_somebody_else_is_left_to_them_and_told(empty: Server) -> None:
    async with a_database(empty) as database:
        await database.store([ROW], after=0, applied=Applied(9, "evt.9"))
        await empty.execute("CREATE TABLE audit.theirs (key text)")
        with pytest.raises(DatabaseAwayError, match="must be owner of table theirs"):
            await database.applied()
        await empty.execute("DROP TABLE audit.theirs")
        assert await database.read() == (Applied(9, "evt.9"), [ROW])


URLS = [
    pytest.param("nonsense", ConfigurationError, "not the URL of a database", id="no URL"),
    pytest.param(
        "postgresql://a:se/cret@h:1/x", ConfigurationError, "not the URL", id="a slash in the password"
    ),
    pytest.param("", ConfigurationError, "not the URL", id="nothing"),
    pytest.param("postgresql://a:b@127.0.0.1:1/x", DatabaseAwayError, "database: ", id="nobody listens"),
]


@pytest.mark.parametrize(("url", "error", "text"), URLS)
async def test_a_url_that_cannot_be_used_is_told_without_it(
    tmp_path: Path, url: str, error: type[Exception], text: str
) -> None:
    file = tmp_path / "database.url"
    file.write_text(url)
    file.chmod(0o600)
    with pytest.raises(error, match=text) as caught:
        await Database(file, Identity.AUDIT, "a test").applied()
    assert "cret" not in str(caught.value)


async def test_a_url_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "database.url"
    file.write_text("postgresql://")
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="may be read by others"):
        await Database(file, Identity.AUDIT, "a test").applied()
    file.unlink()
    with pytest.raises(ConfigurationError, match="No such file"):
        await Database(file, Identity.AUDIT, "a test").applied()


def test_a_service_without_rows_has_no_database(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="generator has no projection"):
        Database(tmp_path / "url", Identity.GENERATOR, "a test")
