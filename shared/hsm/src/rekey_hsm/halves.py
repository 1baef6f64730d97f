"""Which template a half has on which token, by its label: the one place that knows."""

from __future__ import annotations

from rekey_hsm.kinds import kind_of
from rekey_hsm.templates import DISTRIBUTOR_MAC, GENERATOR_KEK, GENERATOR_MAC, Template, distributor_kek


def generator_half(label: str) -> Template:
    """The generator's: wraps, or makes MACs."""
    return GENERATOR_MAC if kind_of(label) is None else GENERATOR_KEK


def distributor_half(label: str) -> Template:
    """The distributor's: unwraps as the template says, or checks MACs."""
    kind = kind_of(label)
    return DISTRIBUTOR_MAC if kind is None else distributor_kek(kind.unwrap)
