"""``python -m rekey_audit --settings FILE``."""

from rekey_audit.app import compose
from rekey_audit.settings import AuditSettings
from rekey_runtime.service import main

main(AuditSettings, compose)
