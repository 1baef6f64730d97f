"""``python -m rekey_distributor --settings FILE``."""

from rekey_runtime.service import main

from rekey_distributor.app import make_service

main(make_service)
