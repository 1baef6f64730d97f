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
    """The two tokens of one environment and the KEK epoch that both must hold."""

    env: str
    epoch: int
    module: Path
    generator: TokenPlan
    distributor: TokenPlan


@dataclass(frozen=True)
class FoundedKey:
    """One key that both tokens hold a half of, with its check value, and whether this ceremony made it."""

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
    """Everything both sides agreed on."""

    generator: TokenReport
    distributor: TokenReport
    keys: tuple[FoundedKey, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was made."""
        return self.generator.made or self.distributor.made or any(key.made for key in self.keys)
