"""What many commands take: context and output, a plan, a time to wait, two people's papers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rekey.cli.context import Context, load_context
from rekey.cli.output import Format


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every command takes.

    Args:
        context: TOML file: env, person, bus_url, server_name, tls_cert, tls_key, tls_ca, ssh_key, trust_genesis, state_dir.
        output: how data is written to standard output.
    """

    context: Annotated[Path | None, Parameter(env_var="REKEY_CONTEXT")] = None
    output: Format = "table"

    def who(self) -> Context:
        """The person and the environment."""
        return load_context(self.context)


@Parameter(name="*")
@dataclass(frozen=True)
class Mutating(Common):
    """What every command that changes something takes.

    Args:
        plan: show what would happen, change nothing.
        wait: seconds to wait until everybody has followed.
    """

    plan: Annotated[bool, Parameter(negative="")] = False
    wait: float | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Cosigned(Mutating):
    """What every command takes that needs two people: first --reason and --out, at last --body and --cosign.

    Args:
        reason: why, for the history; with --out or --plan.
        out: write what both people sign to this file, and send nothing.
        body: the file that --out wrote; this person's signature is added, and it is sent.
        cosign: another person's signature of that file (rekey sign, or ssh-keygen -Y sign -n rekey-cmd@v1).
    """

    reason: str | None = None
    out: Path | None = None
    body: Path | None = None
    cosign: Annotated[tuple[Path, ...], Parameter(negative="")] = ()
