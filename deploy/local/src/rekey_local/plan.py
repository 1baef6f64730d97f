"""What is founded: the environment's name, its people, dependents and keys, and the ports chosen for it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rekey_core.names import DependentName, Environment, PersonName, Role, Service
from rekey_core.validation import what_is_wrong
from rekey_local.errors import DamagedError, NotReadyError
from rekey_local.layout import Layout, write_private

HOST: Final = "127.0.0.1"
SERVER_NAME: Final = "localhost"  # in the bus certificate; clients check it
EPOCH: Final = 1
BACKUP_EPOCH: Final = 1
QUORUM: Final = 2  # of three officers: one who is lost stops nothing, one alone does nothing
INSTANCES: Final = 2  # of each dependent
_PLAN_FILE: Final = "plan.json"

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True)
class PersonPlan:
    """A person of the development environment."""

    role: Role
    scopes: tuple[str, ...]


PEOPLE: Final[Mapping[str, PersonPlan]] = {
    "alice": PersonPlan(Role.OWNER, ("orders-*", "webhook-*", "token-*", "envelope-*")),
    "otto": PersonPlan(Role.OWNER, ("other-*",)),
    "oliver": PersonPlan(Role.TRUST_OFFICER, ()),
    "olga": PersonPlan(Role.TRUST_OFFICER, ()),
    "odile": PersonPlan(Role.TRUST_OFFICER, ()),
    "rita": PersonPlan(Role.RESPONDER, ("*",)),
    "adam": PersonPlan(Role.AUDITOR, ("*",)),
}
OFFICERS: Final = tuple(name for name, person in PEOPLE.items() if person.role is Role.TRUST_OFFICER)
DEPENDENTS: Final[Mapping[str, str]] = {"orders": "alice", "billing": "alice"}  # dependent: its owner


class Plan(BaseModel):
    """What stays the same over restarts of a stack; a taken port is the one thing that changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment = "dev"
    bus_port: Port
    http_ports: dict[Service, Port]  # /livez, /readyz and /metrics of each; the distributor's public keys
    database_port: Port
    newcomers: dict[DependentName, PersonName] = {}  # dependents that were enrolled later, and their owners

    @property
    def every_dependent(self) -> Mapping[str, str]:
        """Dependents and their owners, in the order in which they came: a new one at the end moves nobody's account."""
        return {**DEPENDENTS, **self.newcomers}

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that a server of this environment listens on."""
        return self.bus_port, *self.http_ports.values(), self.database_port

    @property
    def http_urls(self) -> dict[str, str]:
        """Where each service says how it is."""
        return {service.value: f"http://{HOST}:{port}" for service, port in self.http_ports.items()}

    @property
    def bus_url(self) -> str:
        """Where clients find the bus."""
        return f"tls://{HOST}:{self.bus_port}"


def load_plan(layout: Layout, first_port: int | None = None) -> Plan:
    """The plan of the state directory, with free ports: new ones are chosen where the old are taken.

    ``first_port``: those of a new environment are this one and the ones after it, free or not.
    """
    if not (layout.root / _PLAN_FILE).exists():
        plan = Plan.model_validate(new_ports(first_port))
    else:
        plan = read_plan(layout)
        if not all(is_free(port) for port in plan.ports):
            plan = plan.model_copy(update=new_ports())
    write_plan(layout, plan)
    return plan


def read_plan(layout: Layout) -> Plan:
    """The plan as it is.

    Raises:
        NotReadyError: nothing was founded in this directory.
        DamagedError: the file is not a plan; names the first thing that is wrong.
    """
    file = layout.root / _PLAN_FILE
    try:
        return Plan.model_validate_json(file.read_bytes())
    except ValidationError as error:
        message = f"{file}: expected a plan, found {what_is_wrong(error)}"
        hint = "bring the file back from a copy; deploy/up --fresh forgets all keys of this directory"
        raise DamagedError(message, hint=hint) from None
    except FileNotFoundError:
        raise NotReadyError(f"nothing is founded in {layout.root}", hint="deploy/up founds it") from None


def write_plan(layout: Layout, plan: Plan) -> None:
    """Keep the plan for the next start."""
    write_private(layout.root / _PLAN_FILE, plan.model_dump_json(indent=2) + "\n")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)


def new_ports(first: int | None = None) -> dict[str, int | dict[Service, int]]:
    """The plan's fields for ports: free ones, or ``first`` and the ones after it, free or not."""
    count = 1 + len(Service) + 1
    chosen = free_ports(count) if first is None else range(first, first + count)
    bus_port, *http_ports, database_port = chosen
    by_service = dict(zip(Service, http_ports, strict=True))
    return {"bus_port": bus_port, "http_ports": by_service, "database_port": database_port}
