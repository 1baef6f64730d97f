"""``python -m rekey_revocation --settings FILE``."""

from rekey_runtime.service import main

from rekey_revocation.app import make_service

main(make_service)
