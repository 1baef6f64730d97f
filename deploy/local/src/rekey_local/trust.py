"""The first trust document of a development environment, and the officers' signatures under later ones."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rekey_core.contracts import TRUST_NAMESPACE, OfficerSignature, SignedTrust, TrustDocument
from rekey_core.contracts.trust import Person
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.names import Service
from rekey_core.sshsig import sign
from rekey_core.trust import payload_of
from rekey_local.layout import Layout, write_private
from rekey_local.plan import OFFICERS, PEOPLE, QUORUM

_GENESIS_FILE: Final = "trust.1.json"


def found_genesis(
    layout: Layout, env: str, services: Mapping[Service, bytes], ssh_keys: Mapping[str, str]
) -> SignedTrust:
    """Version 1, signed by every officer: services and people, no dependents. Made once."""
    file = layout.provisioner / _GENESIS_FILE
    if not file.exists():
        signed = sign_as_officers(layout, payload_of(_document(env, services, ssh_keys)))
        write_private(file, signed.model_dump_json())
    return read_genesis(layout)


def read_genesis(layout: Layout) -> SignedTrust:
    """Version 1 as it was founded."""
    return SignedTrust.model_validate_json((layout.provisioner / _GENESIS_FILE).read_bytes())


def genesis_hash(signed: SignedTrust) -> str:
    """What every process pins: SHA-256 of the first payload, in hex."""
    return hashlib.sha256(b64u_decode(signed.payload)).hexdigest()


def sign_as_officers(layout: Layout, payload: bytes) -> SignedTrust:
    """For development only: all officers sign at once, because their keys lie in one place."""
    signatures = tuple(
        OfficerSignature(person=officer, sshsig=officer_signature(layout.person(officer), payload))
        for officer in OFFICERS
    )
    return SignedTrust(payload=b64u_encode(payload), signatures=signatures)


def officer_signature(person: Path, payload: bytes) -> str:
    """One officer's armored SSHSIG over the payload."""
    return sign((person / "id_ed25519").read_bytes(), payload, TRUST_NAMESPACE)


def _document(env: str, services: Mapping[Service, bytes], ssh_keys: Mapping[str, str]) -> TrustDocument:
    return TrustDocument(
        env=env,
        n=1,
        previous=None,
        issued_at=dt.datetime.now(dt.UTC).replace(microsecond=0),
        quorum=QUORUM,
        services={service: (b64u_encode(raw),) for service, raw in services.items()},
        people={
            name: Person(ssh_keys=(ssh_keys[name],), roles=(person.role,), scopes=person.scopes)
            for name, person in PEOPLE.items()
        },
        dependents={},
        development=True,
    )
