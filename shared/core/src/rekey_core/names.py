"""The words that name things (DESIGN §1): one token each, safe in a subject, a file name and a label."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Final

from pydantic import StringConstraints

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"  # one NATS token; 63 as in DNS labels (RFC 1035 §2.3.4)
_TOKEN: Final = re.compile(NAME_PATTERN)
_token = StringConstraints(pattern=NAME_PATTERN)

Environment = Annotated[str, _token]
KeyName = Annotated[str, _token]
DependentName = Annotated[str, _token]
PersonName = Annotated[str, _token]
InstanceId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{32}$")
]  # first 16 bytes of SHA-256(instance public key)
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # SHA-256 in hex


class Service(enum.StrEnum):
    """The five services: each is an author on the bus."""

    GENERATOR = "generator"
    DISTRIBUTOR = "distributor"
    ROTATION_SCHEDULER = "rotation-scheduler"
    REVOCATION = "revocation"
    AUDIT = "audit"


class Role(enum.StrEnum):
    """What a person may be trusted with (trust document)."""

    OWNER = "owner"
    RESPONDER = "responder"
    AUDITOR = "auditor"
    TRUST_OFFICER = "trust-officer"


class Algorithm(enum.StrEnum):
    """What a version is: cryptographic algorithm and length."""

    AES_256_GCM = "AES-256-GCM"
    HMAC_SHA_256 = "HMAC-SHA-256"
    EC_P256 = "EC-P256"
    EC_P384 = "EC-P384"
    RSA_3072 = "RSA-3072"  # for RSASSA-PSS alone
    ED25519 = "Ed25519"


class Release(enum.StrEnum):
    """How a class's keys leave the HSM (DESIGN §5)."""

    NEVER = "never"
    TRUSTED_RECIPIENT = "trusted-recipient"
    TRANSPORT_KEY = "transport-key"


def is_token(text: str) -> bool:
    """Whether the text is one name of ours."""
    return _TOKEN.fullmatch(text) is not None
