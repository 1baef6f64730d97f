"""One more dependent in the environment that runs: ``deploy/enrol NAME --owner PERSON``.

Makes its certificate and keys, has the bus let it in, has the officers sign the trust document that names it, and
writes the settings of its instances. Done twice it changes nothing. For development: one hand plays everybody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from rekey_core.encoding import what_and_next
from rekey_core.errors import RekeyError
from rekey_core.names import Role
from rekey_local import bus
from rekey_local.ca import DevelopmentCa
from rekey_local.enrolling import enrol_newcomer
from rekey_local.environments import Environments, softhsm
from rekey_local.errors import LocalError, NotReadyError, RefusedError
from rekey_local.found import hold_ceremony
from rekey_local.keys import found_signing_key, found_transport_key
from rekey_local.layout import Layout
from rekey_local.lock import one_after_the_other
from rekey_local.plan import DEPENDENTS, PEOPLE, Plan, read_plan, write_plan
from rekey_local.settings import Founded, instance_settings, write_instances
from rekey_local.stack import default_state
from rekey_local.trust import genesis_hash, read_genesis

LIMIT_S: Final = 15.0
REFUSED: Final = 4  # exit codes as the command line has them
UNREACHABLE: Final = 1


def main() -> int:
    """The command line: the result as JSON on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # closing a TLS connection is no news for people
    layout = Layout(options.state.resolve())
    environments = Environments(options.env_root.resolve()) if options.env_root else Environments.around()
    try:
        planned(read_plan(layout), options.name, options.owner)
        if not options.plan:
            with one_after_the_other(layout):
                asyncio.run(join(layout, environments, options.name, options.owner))
    except (LocalError, RekeyError) as error:
        sys.stderr.write(what_and_next(f"error: {error}", error.hint))
        return REFUSED if isinstance(error, RefusedError) else UNREACHABLE
    settings = instance_settings(layout, options.name, 1)
    said = {
        "dependent": options.name,
        "owner": options.owner,
        "settings": str(settings),
        "planned": options.plan,
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def planned(plan: Plan, name: str, owner: str) -> Plan:
    """The plan with the newcomer. Pure.

    Raises:
        RefusedError: the name is none or taken, or the owner is nobody who may own.
    """
    person = PEOPLE.get(owner)
    if person is None or person.role is not Role.OWNER:
        owners = ", ".join(known for known, one in PEOPLE.items() if one.role is Role.OWNER)
        raise RefusedError(f"{name}: expected an owner, one of {owners}, found {owner}")
    taken = plan.every_dependent.get(name, owner)
    if name in DEPENDENTS or taken != owner:
        raise RefusedError(f"{name} is enrolled, with owner {taken}", hint="choose another name")
    try:
        return Plan.model_validate(plan.model_dump() | {"newcomers": {**plan.newcomers, name: owner}})
    except ValidationError:
        expected = "a name of lower-case letters, digits and hyphens that begins with a letter"
        raise RefusedError(f"expected {expected}, found {name!r}") from None


async def join(layout: Layout, environments: Environments, name: str, owner: str) -> None:
    """Everything, in an order in which a crash leaves nothing that the next try does not finish.

    Raises:
        RefusedError: as ``planned``.
        NotReadyError: no bus runs, it does not let the newcomer in, or the enrolment program failed.
        RekeyError: the bus does not answer, or the dependent is enrolled with other keys.
    """
    plan = planned(read_plan(layout), name, owner)
    await _within(bus.answers(plan), "no bus runs for this environment")
    write_plan(layout, plan)
    directory = layout.dependent(name)
    DevelopmentCa.found(layout.ca, plan.env).issue_client(directory, f"application/{name}")
    found_signing_key(directory)
    await asyncio.to_thread(found_transport_key, directory)
    bus.render(layout, plan)
    bus.reload(layout)
    await _within(bus.admits(layout, plan, name), f"the bus does not let {name} in")
    await enrol_newcomer(layout, environments, name, owner)
    tokens = hold_ceremony(layout, plan.env, softhsm())
    write_instances(Founded(layout, plan, genesis_hash(read_genesis(layout)), softhsm(), tokens), name)


async def _within(work: Coroutine[object, object, None], otherwise: str) -> None:
    try:
        await asyncio.wait_for(work, LIMIT_S)
    except TimeoutError:
        raise NotReadyError(f"{otherwise} after {LIMIT_S:.0f} s", hint="deploy/up starts it") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/enrol", description="one more dependent in the environment that runs"
    )
    parser.add_argument("name", help="the dependent's name")
    parser.add_argument("--owner", required=True, help="the person who answers for it")
    parser.add_argument("--plan", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--state", type=Path, default=default_state(), metavar="DIR", help="of deploy/up")
    parser.add_argument("--env-root", type=Path, metavar="DIR", help="where the Python environments are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
