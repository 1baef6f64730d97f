"""``python -m rekey_distributor --settings FILE``."""

from rekey_distributor.app import compose
from rekey_distributor.settings import DistributorSettings
from rekey_runtime.service import main

main(DistributorSettings, compose)
