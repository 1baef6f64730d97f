"""The bus provisioner: the server's configuration, streams and consumers, database roles, all from one table."""

from __future__ import annotations

from rekey_provision.database import check_database, provision_database
from rekey_provision.database_url import as_role
from rekey_provision.plan import BusPlan, ClusterPlan
from rekey_provision.provision import Report, provision
from rekey_provision.render import inbox, render_config, spiffe_id

__all__ = [
    "BusPlan",
    "ClusterPlan",
    "Report",
    "as_role",
    "check_database",
    "inbox",
    "provision",
    "provision_database",
    "render_config",
    "spiffe_id",
]
