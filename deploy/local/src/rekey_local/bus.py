"""The bus of a local stack: its configuration, its encryption key, whether it answers, its streams."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import nats
import nats.errors

from rekey_core.authority import Identity
from rekey_core.contracts import SignedTrust
from rekey_core.encoding import sha256_hex
from rekey_local.errors import DamagedError, DriftError, NotReadyError
from rekey_local.keys import found_pin
from rekey_local.layout import Layout, private_directory, write_private
from rekey_local.plan import HOST, PEOPLE, SERVER_NAME, Plan
from rekey_provision import BusPlan, Report, inbox, render_config
from rekey_provision import provision as provision_bus
from rekey_provision.settings import tls_context

PID_FILE: Final = "nats-server.pid"
_STORE_KEY_FILE: Final = (
    "store-key.conf"  # the key under which the server encrypts its streams; it includes it
)
_STORE_KEY_ID: Final = "store-key.sha256"  # which key it was
_POLL_S: Final = 0.02
_CONNECT_S: Final = 5


def bus_plan(layout: Layout, plan: Plan) -> BusPlan:
    """What the provisioner is to make of this environment."""
    return BusPlan(
        env=plan.env,
        host=HOST,
        port=plan.bus_port,
        store_dir=private_directory(layout.bus / "store"),
        tls_cert=layout.bus / "tls.crt",
        tls_key=layout.bus / "tls.key",
        tls_ca=layout.bus / "ca.crt",
        dependents=tuple(plan.every_dependent),
        people=tuple(PEOPLE),
        store_key_file=_STORE_KEY_FILE,
    )


def render(layout: Layout, plan: Plan) -> Path:
    """Write the server's configuration and the key of its streams; returns the path of the former.

    Raises:
        DamagedError: the streams were written under another key.
    """
    file = layout.bus / "server.conf"
    key = f"k{found_pin(layout.bus / 'store.key').decode()}"  # a leading digit would be read as a number
    _same_key(layout.bus / _STORE_KEY_ID, key)
    write_private(layout.bus / _STORE_KEY_FILE, f'key: "{key}"\n')
    write_private(file, render_config(bus_plan(layout, plan)))
    return file


def _same_key(file: Path, key: str) -> None:
    """Under another key the server starts, finds no stream, and the provisioner would make new ones over the old (tried)."""
    found = sha256_hex(key.encode())
    if file.exists() and file.read_text() != found:
        message = f"{file.parent / 'store.key'} is not the key under which the streams of this environment were written"
        raise DamagedError(
            message, hint="put the key back; --fresh founds a new environment and forgets this one"
        )
    write_private(file, found)


def reload(layout: Layout) -> None:
    """Have the running server read its configuration again; who is connected stays connected.

    Raises:
        NotReadyError: no server runs for this environment.
    """
    try:
        os.kill(int((layout.bus / PID_FILE).read_text()), signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise NotReadyError("no bus runs for this environment", hint="deploy/up starts it") from error


async def admits(layout: Layout, plan: Plan, dependent: str) -> None:
    """Return once the server lets a dependent in, which it does when it has read the configuration that names it."""
    directory = layout.dependent(dependent)
    context = tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    while True:
        try:
            client = await nats.connect(
                plan.bus_url, tls=context, tls_hostname=SERVER_NAME, error_cb=_quiet, allow_reconnect=False
            )
        except (OSError, nats.errors.Error):
            await asyncio.sleep(_POLL_S)
        else:
            return await client.close()


async def _quiet(_: Exception) -> None:
    """A refusal is what ``admits`` waits out."""


async def answers(plan: Plan) -> None:
    """Return once the server greets a client; it does so after its streams are recovered."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(HOST, plan.bus_port)
            greeting = await reader.read(4)
        except OSError:
            greeting = b""
        else:
            writer.close()
        if greeting == b"INFO":
            return
        await asyncio.sleep(_POLL_S)


async def provision(layout: Layout, plan: Plan, genesis: SignedTrust) -> None:
    """Make streams and consumers, store the first trust document; again is no change.

    Raises:
        UnavailableError: the bus does not answer or refuses.
        DriftError: something on the bus is not as the authority table says; nothing was altered.
    """
    report = await _provision(layout, plan, genesis.model_dump_json().encode())
    if report.drift:
        message = f"the bus differs from what was founded: {'; '.join(report.drift)}"
        raise DriftError(message, hint="--fresh founds a new environment and forgets this one")


async def _provision(layout: Layout, plan: Plan, genesis: bytes) -> Report:
    directory = layout.provisioner
    context = tls_context(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    client = await nats.connect(
        plan.bus_url,
        tls=context,
        tls_hostname=SERVER_NAME,
        inbox_prefix=inbox(Identity.PROVISIONER),
        allow_reconnect=False,
        connect_timeout=_CONNECT_S,
    )
    try:
        return await provision_bus(client, bus_plan(layout, plan), genesis)
    finally:
        await client.close()
