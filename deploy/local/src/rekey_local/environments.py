"""Where programs are: one Python environment per service, the NATS server's wheel, SoftHSM's library."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekey_local.errors import MissingError

SDK: Final = "sdk"  # environment of the dependents: the SDK and nothing else
STACK: Final = "stack"  # environment of the supervisor, enrolment and the command line
_SOFTHSM: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class Environments:
    """``root/<name>/bin/python`` for each name; without a root this interpreter runs everything (tests)."""

    root: Path | None

    @classmethod
    def around(cls) -> Environments:
        """Those beside the environment in which this process runs, if it is one of them."""
        here = Path(sys.prefix)
        return cls(here.parent if here.name == STACK else None)

    def python(self, name: str) -> str:
        """The interpreter of an environment.

        Raises:
            MissingError: it is not installed.
        """
        if self.root is None:
            return sys.executable
        python = self.root / name / "bin" / "python"
        if not python.exists():
            message = f"there is no environment for {name} at {python}"
            raise MissingError(message, hint="deploy/up installs it")
        return str(python)


def nats_server() -> str:
    """The server from its wheel.

    Raises:
        MissingError: the wheel is not installed.
    """
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not program.exists():
        message = f"nats-server is not at {program}"
        raise MissingError(message, hint="deploy/up installs it")
    return str(program)


def softhsm() -> Path:
    """SoftHSM's PKCS#11 library.

    Raises:
        MissingError: it is not installed.
    """
    found = [Path(path) for path in _SOFTHSM if Path(path).exists()]
    found += sorted(Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"))
    if not found:
        message = "SoftHSM 2 is not installed"
        raise MissingError(message, hint="apt-get install softhsm2")
    return found[0]
