"""The next trust document: the present one and one dependent more. Pure: officers can check it offline."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from rekey_core.contracts import TrustDocument
from rekey_core.contracts.trust import Dependent
from rekey_core.encoding import b64u_encode
from rekey_core.errors import AlreadyExistsError, TrustError
from rekey_core.trust import Trust, payload_of


@dataclass(frozen=True)
class Applicant:
    """A dependent that asks: raw Ed25519 public key, DER SubjectPublicKeyInfo of its RSA transport key."""

    name: str
    owner: str
    signing_key: bytes
    transport_spki: bytes

    @property
    def entry(self) -> Dependent:
        """How the trust document names it."""
        return Dependent(
            signing_key=b64u_encode(self.signing_key),
            transport_key=hashlib.sha256(self.transport_spki).hexdigest(),
            owner=self.owner,
        )


def is_enrolled(trust: Trust, applicant: Applicant) -> bool:
    """Whether the trust document already says exactly this.

    Raises:
        AlreadyExistsError: it names the dependent with other keys or another owner.
    """
    present = trust.document.dependents.get(applicant.name)
    if present is None:
        return False
    if present != applicant.entry:
        message = (
            f"{applicant.name}: trust document {trust.n} names transport key {present.transport_key[:16]} "
            f"and owner {present.owner}, found {applicant.entry.transport_key[:16]} and {applicant.owner}"
        )
        raise AlreadyExistsError(
            message, hint="enrol it under another name, or with the keys that are enrolled"
        )
    return True


def propose(trust: Trust, applicant: Applicant, *, issued_at: datetime) -> bytes:
    """The payload that the officers sign: canonical JSON of version n+1.

    Raises:
        AlreadyExistsError: as ``is_enrolled``.
    """
    is_enrolled(trust, applicant)
    return payload_of(_next(trust, applicant, issued_at))


def check_proposal(payload: bytes, trust: Trust, applicant: Applicant) -> None:
    """Refuse a proposal that says anything else than the present document and this dependent.

    Raises:
        TrustError: it differs, or was made for another version of the document.
    """
    try:
        issued_at = TrustDocument.model_validate_json(payload).issued_at
    except ValueError:
        message = f"the proposal to enrol {applicant.name} is not a trust document"
        raise TrustError(message) from None
    if payload != propose(trust, applicant, issued_at=issued_at):
        message = f"expected trust document {trust.n} with {applicant.name} added, found another proposal"
        raise TrustError(message, hint="make a new proposal and have it signed again")


def _next(trust: Trust, applicant: Applicant, issued_at: datetime) -> TrustDocument:
    return trust.document.model_copy(
        update={
            "n": trust.n + 1,
            "previous": trust.digest,
            "issued_at": issued_at.replace(microsecond=0),
            "dependents": {**trust.document.dependents, applicant.name: applicant.entry},
        }
    )
