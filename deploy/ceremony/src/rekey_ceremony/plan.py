"""What a ceremony is asked to do and what it did. No secret leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rekey_core.secret import Secret


@dataclass(frozen=True)
class TokenPlan:
    """One token: its directory (made if absent, holds ``softhsm2.conf``), its label and its two PINs."""

    directory: Path
    label: str
    user_pin: Secret
    so_pin: Secret


@dataclass(frozen=True)
class CeremonyPlan:
    """The tokens of one environment and the KEK epoch that generator and distributor must hold.

    ``backup``: the offline token, with the epoch of the backup KEKs. Without one, classes that want a backup have no keys.
    """

    env: str
    epoch: int
    module: Path
    generator: TokenPlan
    distributor: TokenPlan
    backup: TokenPlan | None = None
    backup_epoch: int = 1


@dataclass(frozen=True)
class FoundedKey:
    """One key that two tokens hold a half of, with its check value, and whether this ceremony made it."""

    label: str
    check_value: str
    made: bool


@dataclass(frozen=True)
class TokenReport:
    """One token after the ceremony; ``softhsm_conf`` is what its service has in ``SOFTHSM2_CONF``."""

    label: str
    serial: str
    softhsm_conf: Path
    made: bool


@dataclass(frozen=True)
class CeremonyReport:
    """Everything that the sides agreed on."""

    generator: TokenReport
    distributor: TokenReport
    keys: tuple[FoundedKey, ...]
    backup: TokenReport | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was made."""
        tokens = (self.generator, self.distributor, self.backup)
        return any(token.made for token in tokens if token) or any(key.made for key in self.keys)


@dataclass(frozen=True)
class Retirement:
    """An epoch on its way out: the halves that this run destroyed, or would, and those that are there after it.

    ``challenge``: the word that the log is to be asked for with; empty as long as the generator may wrap.
    """

    epoch: int
    challenge: str
    destroyed: tuple[str, ...]
    left: tuple[str, ...]
