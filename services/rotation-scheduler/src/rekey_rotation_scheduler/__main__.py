"""``python -m rekey_rotation_scheduler --settings FILE``."""

from rekey_rotation_scheduler.app import compose
from rekey_rotation_scheduler.settings import SchedulerSettings
from rekey_runtime.service import main

main(SchedulerSettings, compose)
