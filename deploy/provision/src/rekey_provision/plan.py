"""What the bus of one environment shall be: everything that the authority table does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rekey_core.names import DependentName, Environment, PersonName


class ClusterPlan(BaseModel):
    """One node of a cluster; routes are TLS with the server's own certificate on both ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)]
    routes: tuple[str, ...]  # nats-route://host:port of the other nodes


class BusPlan(BaseModel):
    """One server's configuration and the environment's streams."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: Environment
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)]
    server_name: str = "rekey"  # unique in a cluster
    store_dir: Path
    tls_cert: Path
    tls_key: Path
    tls_ca: Path
    dependents: tuple[DependentName, ...] = ()
    people: tuple[PersonName, ...] = ()
    application_accounts: Annotated[int, Field(ge=1, le=999)] = 64  # so many dependents; more takes a restart
    people_accounts: Annotated[int, Field(ge=1, le=999)] = 64
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    cluster: ClusterPlan | None = None
    max_store_bytes: Annotated[int, Field(gt=0)] = 16 << 30  # streams reserve 12 GiB of it when they are made
    encrypted: bool = True  # at rest, under $JSKEY; it must start with a letter, or the server reads a number
    store_key_file: str | None = (
        None  # beside the configuration: ``key: "…"``; then nothing is read from $JSKEY
    )
