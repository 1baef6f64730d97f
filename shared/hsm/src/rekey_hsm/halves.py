"""What a half is on which token, by its label: its template, and the mark that it is whole. The one place that knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rekey_hsm.kinds import kind_of
from rekey_hsm.labels import founded_label, probe_label
from rekey_hsm.templates import DISTRIBUTOR_MAC, GENERATOR_KEK, GENERATOR_MAC, Template, distributor_kek


def generator_half(label: str) -> Template:
    """The generator's: wraps, or makes MACs."""
    return GENERATOR_MAC if kind_of(label) is None else GENERATOR_KEK


def distributor_half(label: str) -> Template:
    """The distributor's: unwraps as the template says, or checks MACs."""
    kind = kind_of(label)
    return DISTRIBUTOR_MAC if kind is None else distributor_kek(kind.unwrap)


@dataclass(frozen=True)
class Side:
    """Whose token it is. ``mark``: the note that the ceremony leaves last, by the key's label."""

    template: Callable[[str], Template]
    mark: Callable[[str], str]


GENERATOR: Final = Side(generator_half, founded_label)
DISTRIBUTOR: Final = Side(distributor_half, probe_label)
