"""A real bus for tests: a CA, one certificate per identity, the rendered configuration, nats-server, the provisioner.

    with running_bus(tmp_path, dependents=("orders",), people=("alice",)) as bus:
        client = await bus.connect(Identity.GENERATOR)
        settings = bus.settings(Service.GENERATOR)

Everything comes from ``rekey_provision`` and ``rekey_core.authority``; nothing of the bus is written here.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nats
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from nats.aio.client import Client

from rekey_core.authority import Identity
from rekey_core.contracts import (
    TRUST_NAMESPACE,
    Dependent,
    OfficerSignature,
    Person,
    SignedTrust,
    TrustDocument,
)
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json
from rekey_core.names import Role, Service
from rekey_core.signing import SigningKey
from rekey_core.sshsig import sign as sshsig_sign
from rekey_provision import BusPlan, ClusterPlan, Report, inbox, provision, render_config
from rekey_runtime.bus import Bus
from rekey_runtime.settings import ServiceSettings
from tests.system.certificates import ENV, Authority, Certificate
from tests.system.ports import free_port

NATS_SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"
ROLES = {
    "alice": (Role.OWNER,),
    "rita": (Role.RESPONDER,),
    "adam": (Role.AUDITOR,),
    "oliver": (Role.TRUST_OFFICER,),
}


ANSWER_S = 30  # seconds: what a server that runs may take to answer, however busy the machine is
NO_TRANSPORT_KEY = "0" * 64  # SHA-256 of no key: nothing can be released


@dataclass
class Node:
    """One nats-server process."""

    plan: BusPlan
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    storage_key: str = "storage-key-of-a-test"

    @property
    def config(self) -> Path:
        """The rendered configuration."""
        return self.directory / "nats.conf"

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.directory / "nats.log"

    def start(self) -> None:
        """Start and wait until it listens."""
        self.config.write_text(render_config(self.plan), encoding="utf-8")
        environment = {**os.environ, "JSKEY": self.storage_key}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [NATS_SERVER, "-c", self.config], stdout=out, stderr=subprocess.STDOUT, env=environment
            )
        wait_until(self._listens, f"nats-server on {self.plan.port}; its log: {self.log}")

    def _listens(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"nats-server ended: {self.log.read_text(encoding='utf-8')[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.plan.port)) == 0

    def kill(self) -> None:
        """End it with kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=ANSWER_S)
            self.process = None

    def reload(self, plan: BusPlan) -> None:
        """Render again and have the server read it."""
        self.plan = plan
        self.config.write_text(render_config(plan), encoding="utf-8")
        reloads = self.log.read_text(encoding="utf-8").count("Reloaded server configuration")
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: self.log.read_text(encoding="utf-8").count("Reloaded server configuration") > reloads,
            "reload",
        )


@dataclass
class RunningBus:
    """One environment's bus, running and provisioned."""

    directory: Path
    authority: Authority
    nodes: list[Node]
    services: dict[Service, SigningKey]
    genesis: bytes
    report: Report | None = None
    dependents: dict[str, SigningKey] = field(default_factory=dict)  # their signing keys
    people: dict[str, bytes] = field(default_factory=dict)  # their SSH keys; oliver is the trust officer
    _certificates: dict[tuple[Identity, str], Certificate] = field(default_factory=dict)

    @property
    def plan(self) -> BusPlan:
        """The first node's plan."""
        return self.nodes[0].plan

    @property
    def url(self) -> str:
        """All nodes, separated by commas."""
        return ",".join(f"tls://127.0.0.1:{node.plan.port}" for node in self.nodes)

    def certificate(self, identity: Identity, name: str = "") -> Certificate:
        """The identity's certificate, issued when first asked for."""
        place = (identity, name)
        if place not in self._certificates:
            self._certificates[place] = self.authority.identity(identity, name)
        return self._certificates[place]

    async def connect(
        self,
        identity: Identity,
        name: str = "",
        *,
        on_error: Callable[[Exception], Awaitable[None]] | None = None,
        node: int | None = None,
    ) -> Client:
        """Log in with the identity's real certificate and its own inbox."""
        nodes = self.nodes if node is None else [self.nodes[node]]
        return await nats.connect(
            [f"tls://127.0.0.1:{n.plan.port}" for n in nodes],
            tls=self.certificate(identity, name).context(),
            tls_hostname="localhost",
            inbox_prefix=inbox(identity, name),
            error_cb=on_error or _quiet,
            allow_reconnect=False,
            connect_timeout=ANSWER_S,
        )

    @contextlib.asynccontextmanager
    async def client(self, identity: Identity, name: str = "") -> AsyncIterator[Client]:
        """Logged in for the time of the block."""
        client = await self.connect(identity, name)
        try:
            yield client
        finally:
            await client.close()

    async def provision(self, *, dry: bool = False) -> Report:
        """Run the provisioner."""
        async with self.client(Identity.PROVISIONER) as client:
            return await provision(client, self.plan, self.genesis, dry=dry)

    def fields(self, service: Service) -> dict[str, object]:
        """The fields that every service's settings have; a service's own come on top."""
        home = self.directory / service.value
        home.mkdir(exist_ok=True)
        signing_key = home / "signing.key"
        signing_key.write_bytes(self.services[service].to_pem())
        files = self.certificate(Identity(service.value))
        return {
            "env": ENV,
            "service": service,
            "bus_url": self.url,
            "tls_cert": files.cert,
            "tls_key": files.key,
            "tls_ca": files.ca,
            "signing_key": signing_key,
            "trust_genesis": hashlib.sha256(self.genesis_payload).hexdigest(),
            "state_dir": home / "state",
        }

    @property
    def genesis_payload(self) -> bytes:
        """The first trust document as it was signed."""
        return b64u_decode(SignedTrust.model_validate_json(self.genesis).payload)

    @contextlib.asynccontextmanager
    async def service_bus(self, service: Service, *, node: int | None = None) -> AsyncIterator[Bus]:
        """A connected bus of a service, with trust loaded; of a cluster, by one node."""
        settings = self.settings(service)
        if node is not None:
            settings = settings.model_copy(update={"bus_url": self.url.split(",")[node]})
        bus = Bus(settings)
        await bus.connect()
        try:
            await bus.trust.load()
            await bus.room.look()
            yield bus
        finally:
            await bus.close()

    def settings(self, service: Service) -> ServiceSettings:
        """Settings of a service as its file would say them."""
        return ServiceSettings.model_validate(self.fields(service))


async def _quiet(_: Exception) -> None:
    """Violations are looked at where they are expected."""


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = ANSWER_S) -> None:
    """Wait for something that must come.

    Raises:
        AssertionError: it did not.
    """
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.01)


def ssh_key() -> bytes:
    """A person's private SSH key, in OpenSSH's format."""
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def ssh_public(private: bytes) -> str:
    """Its public key as one line without comment."""
    public = serialization.load_ssh_private_key(private, None).public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def first_trust(
    services: dict[Service, SigningKey],
    dependents: dict[str, SigningKey],
    people: dict[str, bytes],
    transport_key: str = NO_TRANSPORT_KEY,
) -> bytes:
    """Trust document 1 as JSON: its hash is what is pinned, so it needs no signature."""
    document = TrustDocument(
        env=ENV,
        n=1,
        previous=None,
        issued_at=dt.datetime.now(dt.UTC),
        quorum=1,
        services={service: (b64u_encode(key.public_raw),) for service, key in services.items()},
        people={
            name: Person(ssh_keys=(ssh_public(key),), roles=ROLES.get(name, (Role.OWNER,)), scopes=("*",))
            for name, key in people.items()
        },
        dependents={
            name: Dependent(
                signing_key=b64u_encode(key.public_raw), transport_key=transport_key, owner="alice"
            )
            for name, key in dependents.items()
        },
    )
    payload = canonical_json(document.model_dump(mode="json"))
    return SignedTrust(payload=b64u_encode(payload), signatures=()).model_dump_json().encode()


def next_trust(bus: RunningBus, document: TrustDocument) -> bytes:
    """A later trust document as JSON, signed by oliver, the one officer."""
    payload = canonical_json(document.model_dump(mode="json"))
    sshsig = sshsig_sign(bus.people["oliver"], payload, TRUST_NAMESPACE)
    signature = OfficerSignature(person="oliver", sshsig=sshsig)
    return SignedTrust(payload=b64u_encode(payload), signatures=(signature,)).model_dump_json().encode()


@contextlib.contextmanager
def running_bus(
    directory: Path,
    *,
    dependents: Sequence[str] = ("orders", "billing"),
    people: Sequence[str] = ("alice", "rita"),
    nodes: int = 1,
    provisioned: bool = True,
    transport_key: str = NO_TRANSPORT_KEY,
) -> Iterator[RunningBus]:
    """Found an environment's bus and run it; three nodes make a cluster with three replicas."""
    authority = Authority(directory)
    server = authority.server()
    plans = _plans(directory, server, tuple(dependents), tuple(people), nodes)
    services = {service: SigningKey.generate() for service in Service}
    keys = {name: SigningKey.generate() for name in dependents}
    persons = {name: ssh_key() for name in {*people, "oliver"}}
    genesis = first_trust(services, keys, persons, transport_key)
    bus = RunningBus(directory, authority, [], services, genesis, dependents=keys, people=persons)
    try:
        for plan in plans:
            home = directory / plan.server_name
            home.mkdir()
            bus.nodes.append(Node(plan, home))
            bus.nodes[-1].start()
        if provisioned:
            bus.report = asyncio.run(bus.provision())
        yield bus
    finally:
        for node in bus.nodes:
            node.stop()


def _plans(
    directory: Path, server: Certificate, dependents: tuple[str, ...], people: tuple[str, ...], nodes: int
) -> list[BusPlan]:
    ports = [(free_port(), free_port()) for _ in range(nodes)]
    routes = tuple(f"nats-route://127.0.0.1:{route}" for _, route in ports)
    return [
        BusPlan(
            env=ENV,
            port=port,
            server_name=f"node{number}",
            store_dir=directory / f"node{number}" / "store",
            tls_cert=server.cert,
            tls_key=server.key,
            tls_ca=server.ca,
            dependents=dependents,
            people=people,
            replicas=nodes,
            cluster=ClusterPlan(name=ENV, port=route, routes=routes) if nodes > 1 else None,
        )
        for number, (port, route) in enumerate(ports, start=1)
    ]
