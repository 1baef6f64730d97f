"""``python -m rekey_revocation --settings FILE``."""

from rekey_revocation.app import compose
from rekey_revocation.settings import RevocationSettings
from rekey_runtime.service import main

main(RevocationSettings, compose)
