"""The trust document: who is who. Each version is signed by a quorum of the officers in the one before."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Model, Time
from rekey_core.names import DependentName, Digest, Environment, PersonName, Role, Service

TRUST_NAMESPACE: Final = "rekey-trust@v1"  # SSHSIG namespace of the officers' signatures


class Person(Model):
    """A person: SSH public keys (``ssh-ed25519 AAAA…`` without comment), roles, and the keys in scope (globs)."""

    ssh_keys: Annotated[tuple[str, ...], Field(min_length=1)]
    roles: tuple[Role, ...]
    scopes: tuple[str, ...]


class Dependent(Model):
    """An enrolled dependent: its signing key, and the hash of the transport key that the HSM's officer marked trusted."""

    signing_key: Base64Url  # raw Ed25519 public key
    transport_key: Digest  # SHA-256 of the DER SubjectPublicKeyInfo (RSA)
    owner: PersonName


class TrustDocument(Model):
    """Version ``n`` of who is who in an environment; ``previous`` is the SHA-256 of version n-1's payload."""

    type: Literal["rekey.trust.v1"] = "rekey.trust.v1"
    env: Environment
    n: Annotated[int, Field(ge=1)]
    previous: Digest | None
    issued_at: Time
    quorum: Annotated[int, Field(ge=1)]  # officers that must sign the next version
    services: dict[Service, Annotated[tuple[Base64Url, ...], Field(min_length=1)]]  # raw Ed25519 public keys
    people: dict[PersonName, Person]
    dependents: dict[DependentName, Dependent]
    development: bool = (
        False  # nothing here is worth a long delay; an environment that once was not never is again
    )


class OfficerSignature(Model):
    """One trust officer's SSHSIG over the payload."""

    person: PersonName
    sshsig: Annotated[str, StringConstraints(max_length=8192)]


class SignedTrust(Model):
    """The document as signed: canonical JSON, and the signatures."""

    payload: Base64Url
    signatures: tuple[OfficerSignature, ...]
