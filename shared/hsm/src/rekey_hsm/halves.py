"""Which template a half has on which token, by its label: the one place that knows."""

from __future__ import annotations

from rekey_hsm.labels import is_ec_kek, is_secret_kek
from rekey_hsm.templates import (
    DISTRIBUTOR_MAC,
    GENERATOR_KEK,
    GENERATOR_MAC,
    UNWRAP_EC,
    UNWRAP_SECRET,
    Template,
    distributor_kek,
)


def generator_half(label: str) -> Template:
    """The generator's: wraps, or makes MACs."""
    return GENERATOR_KEK if is_secret_kek(label) or is_ec_kek(label) else GENERATOR_MAC


def distributor_half(label: str) -> Template:
    """The distributor's: unwraps as the template says, or checks MACs."""
    if is_secret_kek(label):
        return distributor_kek(UNWRAP_SECRET)
    if is_ec_kek(label):
        return distributor_kek(UNWRAP_EC)
    return DISTRIBUTOR_MAC
