"""``python -m rekey_provision --settings FILE {render|apply|database} [--plan]``.

``render`` writes the server's configuration and, when it changed, has the server read it again. ``apply`` creates what is
missing on the bus, ``database`` the roles, the database and the schemas of projections. With ``--plan`` all only say
what they would do. Exit codes: 0 as it should be, 1 drift, 70 failed.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import nats
import nats.errors

from rekey_core.authority import Identity
from rekey_core.encoding import what_and_next
from rekey_core.errors import ConfigurationError, RekeyError, UnavailableError
from rekey_provision.database import provision_database
from rekey_provision.provision import Report, provision
from rekey_provision.render import inbox, render_config
from rekey_provision.settings import ProvisionSettings, load, secret_in, tls_context

EXIT_DRIFT: Final = 1
EXIT_FAILED: Final = 70


def render(settings: ProvisionSettings, *, dry: bool) -> int:
    """Write the configuration if it differs and reload the server; the exit code."""
    wanted = render_config(settings.plan)
    file = settings.config_file
    present = file.read_text(encoding="utf-8") if file.exists() else ""
    if wanted == present:
        sys.stdout.write(f"unchanged {file}\n")
        return 0
    if dry:
        sys.stdout.writelines(
            difflib.unified_diff(present.splitlines(keepends=True), wanted.splitlines(keepends=True))
        )
        return 0
    file.write_text(wanted, encoding="utf-8")
    sys.stdout.write(f"written {file}\n")
    if settings.pid_file and settings.pid_file.exists():
        os.kill(int(settings.pid_file.read_text(encoding="utf-8")), signal.SIGHUP)
    return 0


async def apply(settings: ProvisionSettings, *, dry: bool) -> Report:
    """Create what is missing.

    Raises:
        UnavailableError: the bus cannot be reached or refuses.
    """
    context = tls_context(settings.tls_cert, settings.tls_key, settings.tls_ca)
    try:
        client = await nats.connect(
            settings.bus_url, tls=context, inbox_prefix=inbox(Identity.PROVISIONER), connect_timeout=5
        )
    except (OSError, nats.errors.Error) as error:
        raise UnavailableError(f"bus {settings.bus_url}: {error}") from error
    try:
        genesis = settings.genesis_file.read_bytes() if settings.genesis_file else None
        return await provision(client, settings.plan, genesis, dry=dry)
    finally:
        await client.close()


async def database(settings: ProvisionSettings, *, dry: bool) -> Report:
    """Create what is missing on the database server.

    Raises:
        ConfigurationError: the settings name no server, or a file of theirs cannot be read; the server refuses.
        UnavailableError: the server does not answer.
    """
    if settings.database_url_file is None:
        raise ConfigurationError("the settings name no database_url_file, so there is no database to make")
    passwords = {identity: secret_in(file) for identity, file in settings.database_password_files.items()}
    return await provision_database(
        secret_in(settings.database_url_file), settings.plan.env, passwords, dry=dry
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="rekey_provision")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("action", choices=("render", "apply", "database"))
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.settings)
        if options.action == "render":
            return render(settings, dry=options.plan)
        make = apply if options.action == "apply" else database
        report = asyncio.run(make(settings, dry=options.plan))
    except RekeyError as error:
        sys.stderr.write(what_and_next(f"{error.code}: {error}", error.hint))
        return EXIT_FAILED
    for word, lines in (
        ("created", report.created),
        ("unchanged", report.unchanged),
        ("drift", report.drift),
    ):
        sys.stdout.writelines(f"{word} {line}\n" for line in lines)
    return EXIT_DRIFT if report.drift else 0


if __name__ == "__main__":
    sys.exit(main())
