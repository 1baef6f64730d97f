"""New certificates and signing keys for services that run: ``deploy/renew [SERVICE …]``. No process starts again.

Each step looks first whether it is done, so after a crash the same command is run again and goes on. Make before break:
the old signing key leaves the trust document only after the service has said that it signs with the new one. For
development: one hand plays the CA and the officers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rekey_core.encoding import what_and_next
from rekey_core.errors import RekeyError
from rekey_core.names import Service
from rekey_core.signing import key_id
from rekey_local import bus
from rekey_local.ca import DevelopmentCa
from rekey_local.enrolment import enrolment
from rekey_local.environments import Environments
from rekey_local.errors import LocalError, NotReadyError, RefusedError
from rekey_local.keys import (
    NEXT,
    found_signing_key,
    is_between_signing_keys,
    next_signing_key,
    take_over_signing_key,
)
from rekey_local.layout import Layout, private_directory, write_private
from rekey_local.lock import one_after_the_other
from rekey_local.plan import OFFICERS, Plan, read_plan
from rekey_local.stack import default_state
from rekey_local.trust import officer_signature

LIMIT_S: Final = 60.0  # until a service uses what it was given; it looks every second
POLL_S: Final = 0.1
HTTP_S: Final = 5.0
REFUSED: Final = 4  # exit codes as the command line has them
UNREACHABLE: Final = 1


def main() -> int:
    """The command line: the result as JSON on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # closing a TLS connection is no news for people
    layout = Layout(options.state.resolve())
    environments = Environments(options.env_root.resolve()) if options.env_root else Environments.around()
    try:
        plan = read_plan(layout)
        services = unfinished(layout, options.service or list(Service))
        if not options.plan:
            with one_after_the_other(layout):
                asyncio.run(renew(layout, environments, plan, services))
    except (LocalError, RekeyError) as error:
        sys.stderr.write(what_and_next(f"error: {error}", error.hint))
        return REFUSED if isinstance(error, RefusedError) else UNREACHABLE
    said = {"services": [service.value for service in services], "planned": options.plan}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def unfinished(layout: Layout, services: Sequence[Service]) -> list[Service]:
    """Those of which an earlier try left something to do; all of them if there are none."""
    begun = [service for service in services if is_between_signing_keys(layout.service(service))]
    return begun or list(services)


async def renew(layout: Layout, environments: Environments, plan: Plan, services: Sequence[Service]) -> None:
    """Everything, in an order in which a crash leaves nothing that the next try does not finish.

    Raises:
        NotReadyError: no bus runs, the enrolment program failed, or a service does not use what it was given.
    """
    await _bus_answers(plan)
    ca = DevelopmentCa.found(layout.ca, plan.env)
    certificates: dict[Service, str] = {}
    for service in services:
        directory = layout.service(service)
        found_signing_key(directory)  # its public half may be that of the key before, after a crash
        if not is_between_signing_keys(directory):  # else it has its new certificate from the try before
            certificates[service] = ca.renew_client(directory, f"service/{service.value}")
    keys = {service: key_id(next_signing_key(layout.service(service))) for service in services}
    await _change_keys(layout, environments, "--add", services, f"signing.pub{NEXT}")
    await _until_in_use(plan, "certificate", certificates)
    await _until_in_use(plan, "signing_key", keys)
    await _change_keys(layout, environments, "--remove", services, "signing.pub")
    for service in services:
        take_over_signing_key(layout.service(service))


async def _bus_answers(plan: Plan) -> None:
    try:
        await asyncio.wait_for(bus.answers(plan), HTTP_S)
    except TimeoutError:
        raise NotReadyError("no bus runs for this environment", hint="deploy/up starts it") from None


async def _change_keys(
    layout: Layout, environments: Environments, option: str, services: Sequence[Service], file: str
) -> None:
    """Propose, have the officers sign, publish; nothing where the trust document says so already."""
    keys = [f"{option}={service.value}={layout.service(service) / file}" for service in services]
    directory = private_directory(layout.enrolment / "service-keys")
    proposal = directory / "proposal"
    proposal.unlink(missing_ok=True)
    await enrolment(layout, environments, "propose-keys", *keys, "--proposal", str(proposal))
    if not proposal.exists():
        return
    signatures = []
    for officer in OFFICERS:
        write_private(directory / officer, officer_signature(layout.person(officer), proposal.read_bytes()))
        signatures.append(f"--officer-signature={officer}={directory / officer}")
    await enrolment(layout, environments, "change-keys", *keys, "--proposal", str(proposal), *signatures)


async def _until_in_use(plan: Plan, what: str, expected: Mapping[Service, str]) -> None:
    """Wait until each service says at ``/readyz`` that it uses this certificate or signing key.

    Raises:
        NotReadyError: one does not; names it, what was expected and what it says.
    """
    until = time.monotonic() + LIMIT_S
    for service, wanted in expected.items():
        while (found := await asyncio.to_thread(_identity, plan.http_urls[service])).get(what) != wanted:
            if time.monotonic() > until:
                text = f"{service}: expected {what} {wanted[:16]} in use, found {str(found.get(what))[:16]}"
                raise NotReadyError(text, hint="read its log (identity-refused), then run this again")
            await asyncio.sleep(POLL_S)


def _identity(url: str) -> Mapping[str, str]:
    """What a service says that it uses; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=HTTP_S) as answer:  # noqa: S310 - our own loopback address
            body = json.load(answer)
    except urllib.error.HTTPError as error:  # not ready, and says so
        body = json.load(error)
    except (OSError, ValueError):
        return {}
    return body.get("identity", {}) if isinstance(body, dict) else {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/renew", description="new certificates and signing keys for services that run"
    )
    parser.add_argument("service", nargs="*", type=Service, help="none: all five", metavar="SERVICE")
    parser.add_argument("--plan", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--state", type=Path, default=default_state(), metavar="DIR", help="of deploy/up")
    parser.add_argument("--env-root", type=Path, metavar="DIR", help="where the Python environments are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
