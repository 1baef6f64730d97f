"""Who has rows in the database, and what database, schemas and roles are called: SQL's part of the authority table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rekey_core.authority import Identity
from rekey_core.names import is_token

MAX_DATABASE_NAME: Final = 63 - len(
    "_rotation_scheduler"
)  # bytes: NAMEDATALEN of PostgreSQL, less a role's ending


@dataclass(frozen=True)
class Projection:
    """A service's rows in the database: derived from the log, read by that service alone, decided on by nobody."""

    identity: Identity
    table: str

    @property
    def schema(self) -> str:
        """The one schema in which the service's role may do anything."""
        return self.identity.value.replace("-", "_")

    def role(self, env: str) -> str:
        """The database role of the service in an environment."""
        return f"{database_name(env)}_{self.schema}"


PROJECTIONS: Final[tuple[Projection, ...]] = (
    Projection(Identity.AUDIT, "inventory"),
    Projection(Identity.ROTATION_SCHEDULER, "adoption"),
)


def database_name(env: str) -> str:
    """The database of an environment; 63 bytes are what PostgreSQL takes, and a role's name is longer by 20."""
    if not is_token(env):
        message = f"expected one name of lower-case letters, digits and hyphens, found {env!r}"
        raise ValueError(message)
    name = f"rekey_{env.replace('-', '_')}"
    if len(name) > MAX_DATABASE_NAME:
        message = f"expected an environment of at most {MAX_DATABASE_NAME - 6} letters, found {env!r}"
        raise ValueError(message)
    return name
