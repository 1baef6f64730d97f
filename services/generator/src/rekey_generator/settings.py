"""What the generator is told at start."""

from __future__ import annotations

from pathlib import Path

from rekey_runtime.settings import ServiceSettings


class GeneratorSettings(ServiceSettings):
    """Its token; the PIN lies in a file of its own."""

    hsm_module: Path
    token_label: str
    token_serial: str
    pin_file: Path
    backup_epoch: int = 1  # epoch of the backup KEK under which versions are wrapped a second time
    tick_s: float = 1.0  # how often it is asked which destructions are due
    guard_s: float = 300.0  # how often what lies in MATERIAL for destroyed versions is held against the log
