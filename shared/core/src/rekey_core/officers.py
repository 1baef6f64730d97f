"""What a quorum of trust officers says about backups, as the trust document in force counts them. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from rekey_core.contracts import MAX_ORDER_LIFETIME, BackupOrder, OfficersDocument, OfficersSigned
from rekey_core.encoding import b64u_decode, canonical_json
from rekey_core.errors import AuthorityError, ExpiredError, ForeignEnvironmentError, SchemaError, TrustError
from rekey_core.trust import Trust

D = TypeVar("D", bound=OfficersDocument)


def payload_of(document: OfficersDocument) -> bytes:
    """The bytes that officers sign."""
    return canonical_json(document.model_dump(mode="json"))


def open_by_quorum(signed: OfficersSigned, kind: type[D], trust: Trust) -> D:
    """What a quorum has signed.

    Raises:
        AuthorityError: fewer officers than the trust document wants, or somebody who is none.
        SchemaError: it is something else.
        ForeignEnvironmentError: it is about another environment.
    """
    payload = b64u_decode(signed.payload)
    try:
        officers = trust.officers_who_signed(payload, signed.signatures, namespace=kind.NAMESPACE)
    except TrustError as error:
        text = f"{kind.__name__}: {error}"
        raise AuthorityError(text) from error
    if len(officers) < trust.document.quorum:
        text = f"{kind.__name__}: expected {trust.document.quorum} officers, found {len(officers)}"
        raise AuthorityError(text, hint="another trust officer must sign the same file")
    document = _parsed(payload, kind)
    if document.env != trust.env:
        text = f"{kind.__name__}: made for environment {document.env}, expected {trust.env}"
        raise ForeignEnvironmentError(text)
    return document


def check_order(order: BackupOrder, now: datetime) -> None:
    """Return if an order is to be carried out now.

    Raises:
        ExpiredError: it is not of now, or was to live too long.
    """
    lifetime = order.expires_at - order.issued_at
    if lifetime > MAX_ORDER_LIFETIME or not order.issued_at <= now < order.expires_at:
        text = f"the order is from {order.issued_at} to {order.expires_at}, now it is {now}"
        raise ExpiredError(text, hint=f"write a new one; it may live {MAX_ORDER_LIFETIME}")


def _parsed(payload: bytes, kind: type[D]) -> D:
    try:
        document = kind.model_validate_json(payload)
    except ValidationError:
        text = f"expected a {kind.__name__}, found something else"
        raise SchemaError(text) from None
    if payload_of(document) != payload:
        text = f"{kind.__name__}: expected canonical JSON"
        raise SchemaError(text)
    return document
