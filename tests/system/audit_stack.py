"""A bus with audit and other services without an HSM, each as the process that it is; people's contexts.

Versions are requested and never made, which is all that the command line and audit need to be seen to work.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rekey_core.authority import Identity
from rekey_core.contracts import TrustDocument
from rekey_core.encoding import sha256_hex
from rekey_core.names import Role, Service
from tests.system import forked
from tests.system.bus import RunningBus, next_trust, running_bus, wait_until
from tests.system.certificates import ENV

PEOPLE: Mapping[str, tuple[Role, tuple[str, ...]]] = {
    "alice": (Role.OWNER, ("orders-*", "token-*")),
    "otto": (Role.OWNER, ("other-*",)),
    "rita": (Role.RESPONDER, ("*",)),
    "adam": (Role.AUDITOR, ("*",)),
}
COMMAND_S = 30  # no command line of a test takes longer
REGISTERED = "rotation-requested"  # the last that the scheduler says of a key whose versions nobody makes


@dataclass
class ServiceProcess:
    """One service, started and seen ready."""

    name: Service
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def out(self) -> str:
        """What it said on standard output."""
        return (self.directory / "out").read_text(encoding="utf-8")

    @property
    def log(self) -> str:
        """What it wrote to its log."""
        return (self.directory / "log").read_text(encoding="utf-8")

    def wait_ready(self) -> None:
        """Until it says so itself."""
        wait_until(self._is_ready, f"{self.name} is ready", within_s=60)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.name} ended: {self.log[-3000:]}"
        return '"ready"' in self.out

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        """SIGKILL, whether it still runs or not."""
        self.process.kill()
        self.process.wait(timeout=20)


def start(bus: RunningBus, service: Service, *, ready: bool = True) -> ServiceProcess:
    """``python -m rekey_<service>`` with its own settings."""
    fields = bus.fields(service)
    home = bus.directory / service.value
    settings = home / "settings.toml"
    settings.write_text("".join(f"{name} = {json.dumps(str(value))}\n" for name, value in fields.items()))
    module = f"rekey_{service.value.replace('-', '_')}"
    with (home / "out").open("wb") as out, (home / "log").open("ab") as log:
        command = [sys.executable, "-m", module, "--settings", str(settings)]
        process = ServiceProcess(service, home, subprocess.Popen(command, stdout=out, stderr=log))
    if ready:
        process.wait_ready()
    return process


@dataclass
class People:
    """A bus, its services and its people."""

    bus: RunningBus
    services: dict[Service, ServiceProcess] = field(default_factory=dict)

    def context(self, person: str, **changed: object) -> Path:
        """The person's context file."""
        home = self.bus.directory / "people" / person
        home.mkdir(parents=True, exist_ok=True)
        key = home / "id_ed25519"
        key.touch(mode=0o600)
        key.write_bytes(self.bus.people[person])
        files = self.bus.certificate(Identity.PERSON, person)
        genesis = self.bus.fields(Service.AUDIT)["trust_genesis"]
        values = {
            "env": ENV,
            "person": person,
            "bus_url": self.bus.url,
            "tls_cert": files.cert,
            "tls_key": files.key,
            "tls_ca": files.ca,
            "ssh_key": key,
            "trust_genesis": genesis,
            "state_dir": home / "state",
        } | changed
        path = home / f"context{'-changed' if changed else ''}.toml"
        path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
        return path

    def restart(self, service: Service) -> ServiceProcess:
        """A new process of a service that has ended; ready."""
        self.services[service] = start(self.bus, service)
        return self.services[service]

    def kill_all(self) -> None:
        """At the end, whatever each has come to."""
        for process in self.services.values():
            process.kill()

    def rekey(
        self, person: str, *arguments: str, context: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real command line as this person, without a terminal."""
        return rekey(arguments, context or self.context(person))


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {json.dumps(inner)}" for name, inner in value.items()) + " }"
    return json.dumps(str(value))


def rekey(arguments: Sequence[str], context: Path | None) -> subprocess.CompletedProcess[str]:
    """``rekey …`` as a process; without a context when there is none."""
    variables = {"PATH": "/usr/bin:/bin", **({"REKEY_CONTEXT": str(context)} if context else {})}
    done = forked.rekey(arguments, variables, COMMAND_S)
    return subprocess.CompletedProcess(["rekey", *arguments], done.code, done.out, done.err)


@contextmanager
def running_people(directory: Path, services: Sequence[Service]) -> Iterator[People]:
    """Found, start, and end everything again."""
    with ExitStack() as stack:
        bus = stack.enter_context(running_bus(directory, people=tuple(PEOPLE)))
        asyncio.run(_give_scopes(bus))
        people = People(bus)
        stack.callback(people.kill_all)
        for service in services:
            people.services[service] = start(bus, service, ready=False)
        for process in people.services.values():
            process.wait_ready()
        yield people


async def _give_scopes(bus: RunningBus) -> None:
    """Trust document 2: everybody has the role and the scope of ``PEOPLE``."""
    first = TrustDocument.model_validate_json(bus.genesis_payload)
    people = {
        name: first.people[name].model_copy(update={"roles": (role,), "scopes": scopes})
        for name, (role, scopes) in PEOPLE.items()
    }
    document = first.model_copy(
        update={"n": 2, "previous": sha256_hex(bus.genesis_payload), "people": {**first.people, **people}}
    )
    async with bus.client(Identity.ENROLMENT) as client:
        answer = await client.request(f"trust.{ENV}.2", next_trust(bus, document), timeout=5)
    assert "error" not in json.loads(answer.data)
