"""What is founded: the environment's name, its people, dependents and keys, and the ports chosen for it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from rekey_core.names import Environment, Role
from rekey_local.layout import Layout, write_private

HOST: Final = "127.0.0.1"
SERVER_NAME: Final = "localhost"  # in the bus certificate; clients check it
EPOCH: Final = 1
QUORUM: Final = 2
INSTANCES: Final = 2  # of each dependent
_PLAN_FILE: Final = "plan.json"

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True)
class PersonPlan:
    """A person of the development environment."""

    role: Role
    scopes: tuple[str, ...]


PEOPLE: Final[Mapping[str, PersonPlan]] = {
    "alice": PersonPlan(Role.OWNER, ("orders-*", "token-*")),
    "otto": PersonPlan(Role.OWNER, ("other-*",)),
    "oliver": PersonPlan(Role.TRUST_OFFICER, ()),
    "olga": PersonPlan(Role.TRUST_OFFICER, ()),
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
    jwks_port: Port

    @property
    def bus_url(self) -> str:
        """Where clients find the bus."""
        return f"tls://{HOST}:{self.bus_port}"


def load_plan(layout: Layout) -> Plan:
    """The plan of the state directory, with free ports: new ones are chosen where the old are taken."""
    file = layout.root / _PLAN_FILE
    if not file.exists():
        plan = _planned(free_ports(2))
    else:
        plan = Plan.model_validate_json(file.read_bytes())
        if not all(is_free(port) for port in (plan.bus_port, plan.jwks_port)):
            plan = _planned(free_ports(2))
    write_private(file, plan.model_dump_json(indent=2) + "\n")
    return plan


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


def _planned(ports: tuple[int, ...]) -> Plan:
    bus_port, jwks_port = ports
    return Plan(bus_port=bus_port, jwks_port=jwks_port)
