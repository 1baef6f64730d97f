"""A whole environment on this machine, from nothing to ready: bus, database, tokens, services, dependents."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rekey_ceremony import CeremonyReport
from rekey_core.contracts import SignedTrust
from rekey_core.names import Service
from rekey_local import bus, database
from rekey_local.child import ChildPlan, Line
from rekey_local.enrolling import enrol_dependents
from rekey_local.environments import SDK, Environments, nats_server, softhsm
from rekey_local.found import found_identities, found_transport_keys, hold_ceremony
from rekey_local.layout import Layout, private_directory
from rekey_local.plan import DEPENDENTS, INSTANCES, Plan, load_plan
from rekey_local.screen import Screen
from rekey_local.settings import Founded, instance_settings, service_settings, write_settings
from rekey_local.supervisor import Event, Keeper, Probe
from rekey_local.tally import Tally
from rekey_local.trust import genesis_hash

BUS: Final = "nats-server"
DATABASE: Final = "postgres"
READY_S: Final = 60.0
_WORKER: Final = Path(__file__).parent / "app" / "worker.py"
_TOKENS: Final = (Service.GENERATOR, Service.DISTRIBUTOR)


def instance_names() -> tuple[str, ...]:
    """Every instance of every dependent: ``orders-1``, …."""
    return tuple(f"{dependent}-{number}" for dependent in DEPENDENTS for number in range(1, INSTANCES + 1))


class Stack:
    """The processes by name. Start it with ``up``; end it with ``down``, which must run whatever happened."""

    def __init__(
        self, layout: Layout, environments: Environments, screen: Screen, load: tuple[str, ...] = ()
    ) -> None:
        """``load``: what the instances' program is told of its rates beside its defaults."""
        self.layout = layout
        self._load = load
        self.tally = Tally()
        self._environments = environments
        self._screen = screen
        self._keepers: dict[str, Keeper] = {}
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The environment as it is founded; only after ``up`` began."""
        if self._plan is None:
            message = "the stack was not founded yet"
            raise RuntimeError(message)
        return self._plan

    @property
    def sdk_python(self) -> str:
        """The interpreter of applications."""
        return self._environments.python(SDK)

    def keeper(self, name: str) -> Keeper:
        """The keeper of a process. Raises KeyError when it was never started."""
        return self._keepers[name]

    async def up(self) -> None:
        """Found what is not there yet and start everything but the dependents.

        Raises:
            LocalError: something is missing or does not become ready.
            RekeyError: ceremony, provisioning or enrolment failed.
        """
        genesis, tokens = await self._prepare()
        with self._screen.step("five services are ready, dependents are enrolled"):
            self._start_services(tokens)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ready(service.value for service in Service))
                group.create_task(self._enrol(genesis, tokens))

    async def found(self, first_port: int | None = None) -> None:
        """Found what is not there yet: identities, tokens, bus, settings, enrolled dependents. No service is started.

        Raises as ``up``.
        """
        genesis, tokens = await self._prepare(first_port)
        with self._screen.step("dependents are enrolled"):
            await self._enrol(genesis, tokens)

    async def start_instances(self) -> None:
        """Start the dependents' instances and wait until each has its keys."""
        private_directory(self.layout.exchange)
        for dependent in DEPENDENTS:
            for number in range(1, INSTANCES + 1):
                self._start(self._instance(dependent, number))
        await self._ready(instance_names())

    async def down(self) -> None:
        """Drain and stop in order: dependents, services, bus and database."""
        services = [service.value for service in Service]
        for names in (instance_names(), services, (BUS, DATABASE)):
            await asyncio.gather(*(self._keepers[name].stop() for name in names if name in self._keepers))

    async def _prepare(self, first_port: int | None = None) -> tuple[SignedTrust, CeremonyReport]:
        self._plan = plan = await asyncio.to_thread(load_plan, self.layout, first_port)
        await database.check_given(plan)
        with self._screen.step("identities, tokens and bus are founded"):
            genesis, tokens = await self._found(plan)
        write_settings(Founded(self.layout, plan, genesis_hash(genesis), softhsm(), tokens))
        return genesis, tokens

    async def _enrol(self, genesis: SignedTrust, tokens: CeremonyReport) -> None:
        conf = tokens.distributor.softhsm_conf
        await enrol_dependents(self.layout, self.plan, self._environments, genesis, conf)

    async def _found(self, plan: Plan) -> tuple[SignedTrust, CeremonyReport]:
        genesis = await asyncio.to_thread(found_identities, self.layout, plan.env)
        async with asyncio.TaskGroup() as group:
            ceremony = group.create_task(asyncio.to_thread(hold_ceremony, self.layout, plan.env, softhsm()))
            group.create_task(asyncio.to_thread(found_transport_keys, self.layout))
            group.create_task(self._start_bus(plan, genesis))
            group.create_task(self._start_database(plan))
        return genesis, ceremony.result()

    async def _start_bus(self, plan: Plan, genesis: SignedTrust) -> None:
        config, pid_file = bus.render(self.layout, plan), self.layout.bus / bus.PID_FILE
        command = (nats_server(), "--config", str(config), "--pid", str(pid_file))
        self._start(ChildPlan(BUS, command, self._log(BUS)), lambda: bus.answers(plan))
        await self._ready((BUS,))
        await bus.provision(self.layout, plan, genesis)

    async def _start_database(self, plan: Plan) -> None:
        if database.given_url() is None:
            await database.found(self.layout, plan)
            command = database.command(self.layout, plan)
            child = ChildPlan(DATABASE, command, self._log(DATABASE), stop_signal=database.FAST_SHUTDOWN)
            self._start(child, lambda: database.answers(plan))
            await self._ready((DATABASE,))
        await database.provision(self.layout, plan)

    def _start_services(self, tokens: CeremonyReport) -> None:
        confs = dict(
            zip(_TOKENS, (tokens.generator.softhsm_conf, tokens.distributor.softhsm_conf), strict=True)
        )
        for service in Service:
            settings = str(service_settings(self.layout, service))
            module = f"rekey_{service.value.replace('-', '_')}"
            command = (self._environments.python(service.value), "-m", module, "--settings", settings)
            environment = {"SOFTHSM2_CONF": str(confs[service])} if service in confs else {}
            self._start(ChildPlan(service.value, command, self._log(service.value), environment))

    def _instance(self, dependent: str, number: int) -> ChildPlan:
        name = f"{dependent}-{number}"
        command = (
            self.sdk_python,
            str(_WORKER),
            *("--settings", str(instance_settings(self.layout, dependent, number))),
            *("--name", name),
            *("--exchange", str(self.layout.exchange)),
            *self._load,
        )
        return ChildPlan(name, command, self._log(name))

    def _start(self, plan: ChildPlan, probe: Probe | None = None) -> None:
        self._keepers.setdefault(plan.name, Keeper(plan, self._say, self._on_line, probe)).start()

    async def _ready(self, names: Iterable[str]) -> None:
        await asyncio.gather(*(self._keepers[name].ready(READY_S) for name in names))

    def _log(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"

    def _say(self, name: str, event: Event, text: str) -> None:
        if event is not Event.READY:
            self._screen.warn(f"{name} {text}")
        elif text:
            self._screen.say(f"{name} {text}", "green")

    def _on_line(self, name: str, line: Line) -> None:
        if line.get("event") == "database-away":
            self._screen.warn(f"{name} goes on without its database")
        self.tally.take(line)


def default_state() -> Path:
    """Beside the environments: ``.rekey/stack``; in the present directory when run from elsewhere."""
    here = Path(sys.prefix)
    if here.parent.name == "env" and here.parent.parent.name == ".rekey":
        return here.parent.parent / "stack"
    return Path(".rekey") / "stack"
