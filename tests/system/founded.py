"""A founded environment to begin with, made once in a test run: founding takes three times what a start does.

The copy is what a state directory is after ``deploy/up`` was stopped; only its ports are its own. Both kinds lie beside the
directories of the processes that run tests at the same time, who make each of them once.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rekey_local.layout import Layout
from rekey_local.plan import new_ports, read_plan, write_plan
from tests.system.ports import ports_in_a_row

_OF_A_WORKER: Final = "popen-"  # how pytest-xdist names the directory of one of its processes


def copy_of(name: str, to: Path, make: Callable[[Path], None]) -> None:
    """Copy the state directory of this name to where a stack will be; ``make`` founds it, if nobody did before."""
    place = to.parent.parent if to.parent.name.startswith(_OF_A_WORKER) else to.parent
    template, made = place / f"template-{name}", place / f"template-{name}.made"
    with (place / f"template-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(template)
            made.touch()
    # as cp does it: PostgreSQL wants its files to stay those of the user whom they belong to
    subprocess.run(["cp", "-a", f"{template}/.", str(to)], check=True)
    layout = Layout(to)
    plan = read_plan(layout)
    write_plan(layout, plan.model_copy(update=new_ports(ports_in_a_row(len(plan.ports)))))
