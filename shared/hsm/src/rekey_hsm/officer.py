"""What the security officer may do: mark a dependent's transport key as trusted. For enrolment alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rekey_core.secret import Secret


@dataclass(frozen=True)
class EnrolledKey:
    """The trusted transport key as the token holds it."""

    label: str
    spki_sha256: str
    changed: bool


def enrol_transport_key(
    *, module: Path, token_label: str, serial: str, so_pin: Secret, dependent: str, spki_der: bytes
) -> EnrolledKey:
    """Create the dependent's RSA public key as TRUSTED, for wrapping only; the same key again is no change."""
    raise NotImplementedError
