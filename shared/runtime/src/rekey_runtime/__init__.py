"""How a rekey service runs: settings, bus, trust, the key's log, consumers, readiness, log."""

from __future__ import annotations

from rekey_runtime.bus import BatchItem, Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service, main
from rekey_runtime.settings import ServiceSettings, load_settings
from rekey_runtime.trust_store import TrustStore

__all__ = ["BatchItem", "Bus", "KeyLog", "Service", "ServiceSettings", "TrustStore", "load_settings", "main"]
