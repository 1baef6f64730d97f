"""``python -m rekey_generator --settings FILE``."""

from rekey_runtime.service import main

from rekey_generator.app import make_service

main(make_service)
