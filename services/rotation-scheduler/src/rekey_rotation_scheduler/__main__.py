"""``python -m rekey_rotation_scheduler --settings FILE``."""

from rekey_runtime.service import main

from rekey_rotation_scheduler.app import make_service

main(make_service)
