"""The next trust document when signing keys of services come or go: the present one, and exactly that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rekey_core.contracts import TrustDocument
from rekey_core.encoding import b64u_encode
from rekey_core.errors import AlreadyExistsError, StateRefusedError, TrustError
from rekey_core.names import Service
from rekey_core.signing import key_id
from rekey_core.trust import Trust, payload_of


@dataclass(frozen=True)
class KeyChange:
    """Raw Ed25519 public keys, by the service whose they are."""

    comes: Mapping[Service, bytes] = field(default_factory=dict)
    goes: Mapping[Service, bytes] = field(default_factory=dict)


def is_done(trust: Trust, change: KeyChange) -> bool:
    """Whether the trust document says this already."""
    comes = all(key in trust.service_keys(service) for service, key in change.comes.items())
    return comes and not any(key in trust.service_keys(service) for service, key in change.goes.items())


def propose_keys(trust: Trust, change: KeyChange, *, issued_at: datetime) -> bytes:
    """The payload that the officers sign: canonical JSON of version n+1.

    Raises:
        AlreadyExistsError: a key that comes is somebody else's, or was taken away before.
        StateRefusedError: a service would have no key left, or is not in the document.
    """
    services = {service: trust.service_keys(service) for service in trust.document.services}
    for service, key in change.comes.items():
        _check_new(trust, service, key)
        if key not in services.setdefault(service, ()):
            services[service] = (*services[service], key)
    for service, key in change.goes.items():
        services[service] = tuple(held for held in services.get(service, ()) if held != key)
    for service in {*change.comes, *change.goes}:
        _check_left(trust, service, services[service])
    document = trust.document.model_copy(
        update={
            "n": trust.n + 1,
            "previous": trust.digest,
            "issued_at": issued_at.replace(microsecond=0),
            "services": {name: tuple(map(b64u_encode, keys)) for name, keys in services.items()},
        }
    )
    return payload_of(document)


def check_keys_proposal(payload: bytes, trust: Trust, change: KeyChange) -> None:
    """Refuse a proposal that says anything else than the present document and this change.

    Raises:
        TrustError: it differs, or was made for another version of the document.
        AlreadyExistsError, StateRefusedError: as ``propose_keys``.
    """
    try:
        issued_at = TrustDocument.model_validate_json(payload).issued_at
    except ValueError:
        message = "the proposal is not a trust document"
        raise TrustError(message) from None
    if payload != propose_keys(trust, change, issued_at=issued_at):
        message = f"expected trust document {trust.n} with these keys changed, found another proposal"
        raise TrustError(message, hint="make a new proposal and have it signed again")


def _check_new(trust: Trust, service: Service, key: bytes) -> None:
    """A key has one holder, and one that was taken away stays away: what it signed since then would count again."""
    if key in trust.service_keys(service):
        return
    holders = [other.value for other in Service if key in trust.keys_ever(other)]
    holders += [
        name for name, one in trust.document.dependents.items() if one.signing_key == b64u_encode(key)
    ]
    if holders:
        message = f"{service}: signing key {key_id(key)[:16]} is or was that of {', '.join(holders)}"
        raise AlreadyExistsError(message, hint="make a new one")


def _check_left(trust: Trust, service: Service, keys: tuple[bytes, ...]) -> None:
    if service not in trust.document.services:
        message = f"{service} is not in trust document {trust.n}"
        raise StateRefusedError(message, hint="name a service of this environment")
    if not keys:
        message = f"{service}: expected a signing key that stays, found none in the proposal"
        raise StateRefusedError(message, hint="have its new key named first, and wait until it signs with it")
