"""The provisioner against a real server: founds once, changes nothing the second time, reports what differs."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from rekey_core.authority import CONSUMERS, STREAMS, Identity, Stream
from rekey_core.encoding import sha256_hex
from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.jetstream import consumer_config, stream_config
from rekey_core.names import Service
from rekey_enrolment.bus import TrustBus
from rekey_enrolment.settings import EnrolmentSettings
from rekey_provision.__main__ import main
from rekey_runtime.bus import Bus
from rekey_runtime.founded import Founded
from tests.system.bus import RunningBus, running_bus, wait_until
from tests.system.certificates import ENV

WITHIN_S = 20


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningBus]:
    """A bus of the test's own, to be changed."""
    with running_bus(tmp_path) as bus:
        yield bus


async def test_it_creates_everything_of_the_table(environment: RunningBus) -> None:
    assert environment.report is not None
    expected = {f"stream {s.name}" for s in STREAMS} | {f"consumer {c.name}" for c in CONSUMERS}
    assert set(environment.report.created) == expected | {"trust document 1"}
    assert environment.report.drift == ()


async def test_again_is_no_change(environment: RunningBus) -> None:
    again = await environment.provision()
    assert (again.created, again.drift) == ((), ())
    assert len(again.unchanged) == len(STREAMS) + len(CONSUMERS) + 1


async def test_another_genesis_is_drift_not_a_new_one(environment: RunningBus) -> None:
    genesis = environment.genesis
    environment.genesis = b'{"payload": "", "signatures": []}'
    report = await environment.provision()
    environment.genesis = genesis
    assert report.drift == ("trust document 1: another one is stored",)


async def test_drift_is_reported_and_never_altered_and_no_service_runs_on_it(tmp_path: Path) -> None:
    with running_bus(tmp_path, provisioned=False) as bus:
        client = await bus.connect(Identity.PROVISIONER)
        loose = stream_config(STREAMS[0], ENV, 1) | {"deny_delete": False, "max_bytes": 1000}
        await client.request(
            f"JSC.API.STREAM.CREATE.{STREAMS[0].name}", json.dumps(loose).encode(), timeout=WITHIN_S
        )
        trust = json.dumps(stream_config(next(s for s in STREAMS if s.name is Stream.TRUST), ENV, 1)).encode()
        await client.request("JSC.API.STREAM.CREATE.TRUST", trust, timeout=WITHIN_S)
        status = {"Status": "404"}  # the word of whoever wrote it, and no answer that it is not there
        await client.request(f"trust.{ENV}.1", bus.genesis, timeout=WITHIN_S, headers=status)
        await client.close()
        for _ in range(2):
            report = await bus.provision()
            assert report.drift == (
                "stream LIFECYCLE: max_bytes expected 4294967296, found 1000; deny_delete expected True, found False",
            )
        async with bus.service_bus(Service.GENERATOR) as generator:
            with pytest.raises(
                ConfigurationError, match=r"LIFECYCLE: max_bytes expected 4294967296, found 1000"
            ):
                await Founded(generator, ()).verify()


@pytest.mark.parametrize("status", ["404", "503"])
async def test_a_status_in_a_trust_document_hides_it_from_nobody(tmp_path: Path, status: str) -> None:
    """It is the word of whoever wrote it, and none of the bus that nothing, or nobody, is there."""
    with running_bus(tmp_path, provisioned=False) as bus:
        client = await bus.connect(Identity.PROVISIONER)
        trust = json.dumps(stream_config(next(s for s in STREAMS if s.name is Stream.TRUST), ENV, 1)).encode()
        await client.request("JSC.API.STREAM.CREATE.TRUST", trust, timeout=WITHIN_S)
        await client.request(f"trust.{ENV}.1", bus.genesis, timeout=WITHIN_S, headers={"Status": status})
        await client.close()
        assert (await bus.provision()).drift == ()
        settings = EnrolmentSettings(
            env=ENV,
            bus_url="",
            server_name="",
            tls_cert=tmp_path,
            tls_key=tmp_path,
            tls_ca=tmp_path,
            trust_genesis=sha256_hex(bus.genesis_payload),
            hsm_module=tmp_path,
            token_label="",
            token_serial="",
            so_pin_file=tmp_path,
        )
        enrolment = await bus.connect(Identity.ENROLMENT)
        assert (await TrustBus(enrolment, settings).trust()).n == 1
        await enrolment.close()


CONSUMER = next(c for c in CONSUMERS if c.name == "generator")


async def test_a_missing_or_altered_stream_or_consumer_lets_no_service_run(tmp_path: Path) -> None:
    """Of everything one stream and one consumer are missing, and another consumer is not as it should be."""
    altered = consumer_config(CONSUMER, ENV) | {"max_deliver": 3}
    with running_bus(tmp_path, provisioned=False) as bus:
        client = await bus.connect(Identity.PROVISIONER)
        for stream in (s for s in STREAMS if s.name is not Stream.LEASES):
            body = json.dumps(stream_config(stream, ENV, 1)).encode()
            await client.request(f"JSC.API.STREAM.CREATE.{stream.name}", body, timeout=WITHIN_S)
        await client.request(f"trust.{ENV}.1", bus.genesis, timeout=WITHIN_S)
        body = json.dumps({"stream_name": "LIFECYCLE", "config": altered}).encode()
        await client.request("JSC.API.CONSUMER.DURABLE.CREATE.LIFECYCLE.generator", body, timeout=WITHIN_S)
        await client.close()
        async with bus.service_bus(Service.GENERATOR) as generator:
            with pytest.raises(
                ConfigurationError, match="consumer generator: max_deliver expected -1, found 3"
            ):
                await Founded(generator, [CONSUMER]).verify()
        async with bus.service_bus(Service.REVOCATION) as revocation:
            with pytest.raises(
                ConfigurationError, match=r"STREAM\.INFO\.LEASES: stream not found"
            ) as missing:
                await Founded(revocation, ()).verify()
            assert missing.value.hint == "run the bus provisioner"
            wanted = [c for c in CONSUMERS if c.name == "revocation"]
            with pytest.raises(ConfigurationError, match=r"COMMANDS\.revocation: consumer not found"):
                await Founded(revocation, wanted).watch()


async def test_under_another_key_at_rest_nothing_is_read_and_nothing_is_lost(fresh: RunningBus) -> None:
    """nats-server starts without its streams; whoever starts it compares the key first (rekey_local.bus)."""
    [node] = fresh.nodes
    right = node.storage_key
    node.stop()
    node.storage_key = "another-storage-key"
    node.start()
    service = Bus(fresh.settings(Service.GENERATOR))
    await service.connect()
    with pytest.raises(UnavailableError, match=r"TRUST\.trust"):
        await service.trust.load()
    await service.close()
    node.stop()
    node.storage_key = right
    node.start()
    async with fresh.service_bus(Service.GENERATOR) as generator:
        await Founded(generator, [CONSUMER]).verify()
        assert generator.trust.current.n == 1


async def test_a_plan_creates_nothing(tmp_path: Path) -> None:
    with running_bus(tmp_path, provisioned=False) as bus:
        planned = await bus.provision(dry=True)
        assert len(planned.created) == len(STREAMS) + len(CONSUMERS) + 1
        assert (await bus.provision()).created == planned.created


async def answered(client: Client, subject: str) -> bytes:
    """The answer; asked again while nobody serves (seen once, right after a reload): as the SDK asks again."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return (await client.request(subject, b"", timeout=WITHIN_S)).data
            except NoRespondersError:
                await asyncio.sleep(0.05)


async def test_a_dependent_comes_and_goes_by_reload_and_others_stay(fresh: RunningBus) -> None:
    generator = await fresh.connect(Identity.GENERATOR)
    orders = await fresh.connect(Identity.APPLICATION, "orders")
    newcomers = fresh.certificate(Identity.APPLICATION, "newcomer").context()
    assert b"Authorization Violation" in await asyncio.to_thread(said, fresh, newcomers)
    node, plan = fresh.nodes[0], fresh.plan
    node.reload(plan.model_copy(update={"dependents": (*plan.dependents, "newcomer")}))
    newcomer = await fresh.connect(Identity.APPLICATION, "newcomer")
    stored = await newcomer.request(f"rcpt.{ENV}.newcomer.i1", b"receipt", timeout=WITHIN_S)
    assert "seq" in json.loads(stored.data)
    for client, subject in ((generator, f"rpt.{ENV}.generator.alert.a1"), (orders, f"rcpt.{ENV}.orders.i1")):
        assert client.is_connected
        assert "seq" in json.loads((await client.request(subject, b"still here", timeout=WITHIN_S)).data)
    served = await fresh.connect(Identity.DISTRIBUTOR)

    async def answer(message: Msg) -> None:
        await message.respond(b"yes")

    await served.subscribe(f"req.{ENV}.>", cb=answer)
    await served.flush()
    assert await answered(newcomer, f"req.{ENV}.newcomer.i1.lease") == b"yes"
    await served.close()
    node.reload(plan)
    until = asyncio.get_running_loop().time() + WITHIN_S
    while newcomer.is_connected:
        assert asyncio.get_running_loop().time() < until, "a removed dependent stays connected"
        await asyncio.sleep(0.01)
    for client in (generator, orders):
        assert client.is_connected
        await client.close()


@pytest.mark.parametrize(
    ("identity", "name", "env"),
    [
        pytest.param(Identity.APPLICATION, "nobody", ENV, id="a dependent that is not in the plan"),
        pytest.param(Identity.PERSON, "mallory", ENV, id="a person who is not in the plan"),
        pytest.param(Identity.GENERATOR, "", "prod", id="a service of another environment"),
    ],
)
def test_a_certificate_of_nobody_here_is_refused(
    environment: RunningBus, identity: Identity, name: str, env: str
) -> None:
    files = environment.authority.identity(identity, name, env=env)
    assert b"Authorization Violation" in said(environment, files.context())


def test_no_certificate_is_refused(environment: RunningBus) -> None:
    context = ssl.create_default_context(cafile=environment.authority.ca)
    with pytest.raises(OSError, match=r"certificate required|reset"):
        said(environment, context)


def said(bus: RunningBus, context: ssl.SSLContext) -> bytes:
    """What the server says to somebody who logs in, by hand: the client leaves refused sockets open."""
    with socket.create_connection(("127.0.0.1", bus.plan.port), timeout=5) as plain:
        plain.recv(4096)  # INFO, then both sides begin TLS
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            secured.sendall(
                b'CONNECT {"verbose": false, "pedantic": false, "tls_required": true}\r\nPING\r\n'
            )
            answer = b""
            while b"-ERR" not in answer and b"PONG" not in answer:
                received = secured.recv(4096)
                assert received, answer
                answer += received
            return answer


async def test_what_is_terminated_and_given_up_reaches_audit(environment: RunningBus) -> None:
    alice = await environment.connect(Identity.PERSON, "alice")
    await alice.request(f"cmd.rotate.{ENV}.seed.terminated", b"x", timeout=WITHIN_S)
    await alice.close()
    scheduler = await environment.connect(Identity.ROTATION_SCHEDULER)
    message = await pulled(scheduler, "COMMANDS.rotation-scheduler")
    await scheduler.request(message.reply, b"+TERM", timeout=WITHIN_S)
    await scheduler.close()
    audit = await environment.connect(Identity.AUDIT)
    advisory = await pulled(audit, "ADVISORIES.audit-advisories")
    await audit.close()
    assert json.loads(advisory.data)["consumer"] == "rotation-scheduler"


async def pulled(client: Client, consumer: str) -> Msg:
    """The next message of a consumer."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    pull = json.dumps({"batch": 1, "expires": WITHIN_S * 10**9}).encode()
    await client.publish(f"JSC.API.CONSUMER.MSG.NEXT.{consumer}", pull, reply=inbox)
    return await answers.next_msg(WITHIN_S)


def test_the_command_renders_reloads_applies_and_says_drift(
    fresh: RunningBus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = fresh.certificate(Identity.PROVISIONER)
    node = fresh.nodes[0]
    assert node.process is not None
    pid = tmp_path / "server.pid"
    pid.write_text(str(node.process.pid), encoding="utf-8")
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(fresh.genesis)
    settings = tmp_path / "provision.toml"

    def run(action: str, *flags: str, people: str = '"alice", "rita"') -> tuple[int, str]:
        plan = fresh.plan
        settings.write_text(
            f'config_file = "{node.config}"\npid_file = "{pid}"\nbus_url = "{fresh.url}"\n'
            f'genesis_file = "{genesis}"\ntls_cert = "{files.cert}"\ntls_key = "{files.key}"\ntls_ca = "{files.ca}"\n'
            f'[plan]\nenv = "{ENV}"\nport = {plan.port}\nserver_name = "{plan.server_name}"\n'
            f'store_dir = "{plan.store_dir}"\ntls_cert = "{plan.tls_cert}"\ntls_key = "{plan.tls_key}"\n'
            f'tls_ca = "{plan.tls_ca}"\ndependents = ["orders", "billing"]\npeople = [{people}]\n',
            encoding="utf-8",
        )
        code = main(["--settings", str(settings), action, *flags])
        return code, capsys.readouterr().out

    assert run("render") == (0, f"unchanged {node.config}\n")
    code, out = run("render", "--plan", people='"alice", "rita", "zoe"')
    assert (code, "+" in out, "person/zoe" in out) == (0, True, True)
    assert "person/zoe" not in node.config.read_text(encoding="utf-8")
    assert run("render", people='"alice", "rita", "zoe"') == (0, f"written {node.config}\n")
    wait_until(lambda: "Reloaded server configuration" in node.log.read_text(encoding="utf-8"), "reload")
    code, out = run("apply")
    assert (code, "created" in out, "drift" in out) == (0, False, False)
    genesis.write_bytes(b"another")
    code, out = run("apply")
    assert (code, out.splitlines()[-1]) == (1, "drift trust document 1: another one is stored")


def test_settings_that_are_wrong_name_the_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "provision.toml"
    settings.write_text('bus_url = "tls://localhost"\n', encoding="utf-8")
    assert main(["--settings", str(settings), "apply"]) == 70
    assert "plan: field required" in capsys.readouterr().err
