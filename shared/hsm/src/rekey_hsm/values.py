"""What goes into and comes out of the HSM's facades: plain frozen values, none of them a key in clear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rekey_core.secret import Secret


@dataclass(frozen=True)
class TokenSettings:
    """Where the token is and which one it must be; ``serial`` is new with each new token.

    SoftHSM keeps the serial of a token that is initialised again: that its keys are there is proved apart.
    """

    module: Path
    label: str
    serial: str
    pin: Secret


@dataclass(frozen=True)
class WrappedSecret:
    """A secret wrapped under a KEK (RFC 5649), and its MAC over what commits to it.

    64 bytes and HMAC-SHA256, or an AES-256 key and AES-CMAC.
    """

    blob: bytes
    commitment: bytes
    backup: bytes | None = None  # the same secret under a backup KEK


@dataclass(frozen=True)
class WrappedKeyPair:
    """A private key (PKCS#8) wrapped under a KEK (RFC 5649), and its DER SubjectPublicKeyInfo."""

    blob: bytes
    spki: bytes
    backup: bytes | None = None  # the same private key under a backup KEK


@dataclass(frozen=True)
class Released:
    """A secret wrapped for a recipient and one HMAC-SHA256 per input.

    ``wrapped`` is to the recipient's trusted key (RSA-OAEP, SHA-1, no label); or under an AES transport key (RFC 5649), and
    then ``transport`` is that key, wrapped to the recipient's trusted key.
    """

    wrapped: bytes
    macs: tuple[bytes, ...]
    transport: bytes | None = None
