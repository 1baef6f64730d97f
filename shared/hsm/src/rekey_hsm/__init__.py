"""The only code of rekey that knows PKCS#11.

``GeneratorHsm``, ``DistributorHsm`` and, for people, ``BackupHsm`` are async facades over the one thread of the process
that may talk to the module. ``rekey_hsm.officer`` and ``rekey_hsm.founding`` are for enrolment and the ceremony alone.
"""

from rekey_hsm.backup import BackupHsm
from rekey_hsm.distributor import DistributorHsm
from rekey_hsm.generator import GeneratorHsm
from rekey_hsm.kinds import backup_label, kek_label
from rekey_hsm.labels import record_mac_label
from rekey_hsm.values import Released, TokenSettings, WrappedKeyPair, WrappedSecret

__all__ = [
    "BackupHsm", "DistributorHsm", "GeneratorHsm", "Released", "TokenSettings", "WrappedKeyPair", "WrappedSecret",
    "backup_label", "kek_label", "record_mac_label",
]  # fmt: skip
