"""The bus provisioner: renders the server's configuration and founds streams and consumers, all from one table."""

from __future__ import annotations

from rekey_provision.plan import BusPlan, ClusterPlan
from rekey_provision.provision import Report, provision
from rekey_provision.render import inbox, render_config, spiffe_id

__all__ = ["BusPlan", "ClusterPlan", "Report", "inbox", "provision", "render_config", "spiffe_id"]
