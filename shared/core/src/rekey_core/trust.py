"""Who is who: a chain of documents from a pinned genesis, each signed by a quorum of the officers in the one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Final

from pydantic import ValidationError

from rekey_core.contracts import (
    TRUST_NAMESPACE,
    Dependent,
    OfficerSignature,
    Person,
    SignedTrust,
    TrustDocument,
)
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json, sha256_hex
from rekey_core.errors import AuthorityError, SchemaError, SignatureError, TrustError
from rekey_core.names import Role, Service
from rekey_core.sshsig import verify
from rekey_core.validation import what_is_wrong

ED25519_KEY_BYTES: Final = 32  # a raw public key (RFC 8032 §5.1.5)


@dataclass(frozen=True)
class Trust:
    """A verified chain's newest document and its hash; the links before it stay, since they judge what was said then.

    ``since``: when the log took the document (without that, when it says it was issued). What stands in a log is judged
    ``at`` its own time, so that whoever leaves takes nothing along that was right before.
    """

    document: TrustDocument
    digest: str
    since: datetime = field(compare=False)
    before: Trust | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_chain(cls, chain: Sequence[SignedTrust], *, genesis: str, env: str) -> Trust:
        """Verify documents 1..n.

        Args:
            chain: every version, oldest first.
            genesis: SHA-256 (hex) of the first payload, pinned out of band.
            env: the environment that the documents must be for.

        Raises:
            TrustError: empty, another genesis, a gap, or a version without its quorum.
        """
        if not chain:
            message = f"expected the trust document with genesis {genesis[:16]}, found none"
            raise TrustError(message)
        payload = _payload(chain[0])
        found = sha256_hex(payload)
        if found != genesis:
            message = f"expected genesis {genesis[:16]}, found {found[:16]}"
            raise TrustError(message)
        document = _parse(payload)
        if (document.n, document.previous, document.env) != (1, None, env):
            message = f"expected version 1 for {env}, found {document.n} for {document.env}"
            raise TrustError(message)
        trust = cls(_sound(document), found, document.issued_at)
        for signed in chain[1:]:
            trust = trust.extended(signed)
        return trust

    def extended(self, signed: SignedTrust, *, since: datetime | None = None) -> Trust:
        """The next version; ``since``: when the log took it.

        Raises:
            TrustError: not the next one, or not signed by a quorum of this document's officers.
        """
        payload = _payload(signed)
        document = _parse(payload)
        place = (document.env, document.n, document.previous)
        if place != (self.env, self.n + 1, self.digest):
            found = f"{document.n} after {str(document.previous)[:16]}"
            message = f"expected version {self.n + 1} after {self.digest[:16]}, found {found}"
            raise TrustError(message)
        if document.development and not self.is_development:
            message = f"version {document.n}: an environment that is not for development never becomes one"
            raise TrustError(message)
        officers = self.officers_who_signed(payload, signed.signatures, namespace=TRUST_NAMESPACE)
        if len(officers) < self.document.quorum:
            message = f"version {document.n}: expected {self.document.quorum} officers, found {len(officers)}"
            raise TrustError(message)
        began = max(self.since, since or document.issued_at)
        return Trust(_sound(document), sha256_hex(payload), began, self)

    def at(self, when: datetime) -> Trust:
        """The document that was in force then; the first one for everything before the second."""
        trust = self
        while trust.before is not None and when < trust.since:
            trust = trust.before
        return trust

    @property
    def n(self) -> int:
        """The document's version."""
        return self.document.n

    @property
    def env(self) -> str:
        """The environment it is for."""
        return self.document.env

    @property
    def is_development(self) -> bool:
        """Whether the officers founded the environment for development: delays that protect people are short."""
        return self.document.development

    def service_keys(self, service: Service) -> tuple[bytes, ...]:
        """The raw Ed25519 public keys of a service; none if it is not in the document."""
        return self._keys.get(service, ())

    def keys_ever(self, service: Service) -> tuple[bytes, ...]:
        """Every key that a service ever had, newest first: for what others pass on without saying when it was stored."""
        return self._keys_ever.get(service, ())

    @cached_property
    def _keys(self) -> Mapping[Service, tuple[bytes, ...]]:
        return {
            service: tuple(b64u_decode(key) for key in keys)
            for service, keys in self.document.services.items()
        }

    @cached_property
    def _keys_ever(self) -> Mapping[Service, tuple[bytes, ...]]:
        keys: dict[Service, dict[bytes, None]] = {service: {} for service in Service}
        trust: Trust | None = self
        while trust is not None:
            for service, its in keys.items():
                its.update(dict.fromkeys(trust.service_keys(service)))
            trust = trust.before
        return {service: tuple(its) for service, its in keys.items()}

    def person(self, name: str) -> Person:
        """A person. Raises AuthorityError for a stranger."""
        try:
            return self.document.people[name]
        except KeyError:
            message = f"{name} is not in the trust document (version {self.n})"
            raise AuthorityError(message) from None

    def dependent(self, name: str) -> Dependent:
        """An enrolled dependent. Raises AuthorityError for one that is not."""
        try:
            return self.document.dependents[name]
        except KeyError:
            message = f"dependent {name} is not enrolled (trust document version {self.n})"
            raise AuthorityError(message, hint="enrol it first") from None

    def in_scope(self, person: str, key: str) -> bool:
        """Whether one of the person's scopes (case-sensitive globs) covers the key."""
        return any(fnmatchcase(key, scope) for scope in self.person(person).scopes)

    def has_role(self, person: str, role: Role) -> bool:
        """Whether the person has the role."""
        return role in self.person(person).roles

    def officers_who_signed(
        self, payload: bytes, signatures: Sequence[OfficerSignature], *, namespace: str
    ) -> frozenset[str]:
        """The trust officers of this document who signed the payload for this purpose.

        Raises:
            TrustError: somebody else is named, or a signature is not the officer's.
        """
        signed = set()
        for signature in signatures:
            person = self.document.people.get(signature.person)
            if person is None or Role.TRUST_OFFICER not in person.roles:
                message = f"{signature.person} is not a trust officer of version {self.n}"
                raise TrustError(message)
            try:
                verify_person(person, signature.sshsig, payload, namespace=namespace, name=signature.person)
            except SignatureError as error:
                raise TrustError(f"{namespace}: {error}") from error
            signed.add(signature.person)
        return frozenset(signed)


def verify_person(person: Person, sshsig: str, message: bytes, *, namespace: str, name: str) -> None:
    """Return if one of the person's keys made the signature.

    Raises:
        SignatureError: none did.
    """
    first: SignatureError | None = None
    for key in person.ssh_keys:
        try:
            verify(sshsig, message, namespace=namespace, public_key=key)
        except SignatureError as error:
            first = first or error
        else:
            return
    text = f"expected a signature by {name}: {first}"
    raise SignatureError(text)


def payload_of(document: TrustDocument) -> bytes:
    """The bytes that officers sign."""
    return canonical_json(document.model_dump(mode="json"))


def issue(document: TrustDocument, signatures: Sequence[OfficerSignature]) -> SignedTrust:
    """A document with its signatures; nothing is verified here."""
    return SignedTrust(payload=b64u_encode(payload_of(document)), signatures=tuple(signatures))


def _payload(signed: SignedTrust) -> bytes:
    try:
        return b64u_decode(signed.payload)
    except SchemaError as error:
        message = f"trust document: {error}"
        raise TrustError(message) from error


def _parse(payload: bytes) -> TrustDocument:
    try:
        document = TrustDocument.model_validate_json(payload)
    except ValidationError as error:
        message = f"trust document: {what_is_wrong(error)}"
        raise TrustError(message) from None
    if payload_of(document) != payload:
        message = "trust document: expected canonical JSON"
        raise TrustError(message)
    return document


def _sound(document: TrustDocument) -> TrustDocument:
    """A document that nobody could follow, or one person could follow twice, is refused."""
    _check_ssh_keys(document)
    _check_raw_keys(document)
    officers = [name for name, person in document.people.items() if Role.TRUST_OFFICER in person.roles]
    if document.quorum > len(officers):
        message = (
            f"version {document.n}: quorum {document.quorum} of {len(officers)} officers can never be reached"
        )
        raise TrustError(message)
    return document


def _check_ssh_keys(document: TrustDocument) -> None:
    """Two people with one key would be one person with two votes."""
    keys = Counter(
        key
        for person in document.people.values()
        for key in {_without_comment(key) for key in person.ssh_keys}
    )
    shared = [key for key, count in keys.items() if count > 1]
    if shared:
        holders = sorted(
            n for n, p in document.people.items() if shared[0] in map(_without_comment, p.ssh_keys)
        )
        raise TrustError(f"version {document.n}: {' and '.join(holders)} have the same SSH key")


def _without_comment(ssh_key: str) -> str:
    return " ".join(ssh_key.split()[:2])


def _check_raw_keys(document: TrustDocument) -> None:
    keys = [(service.value, key) for service, keys in document.services.items() for key in keys]
    keys += [(name, dependent.signing_key) for name, dependent in document.dependents.items()]
    for holder, key in keys:
        try:
            length = len(b64u_decode(key))
        except SchemaError as error:
            raise TrustError(f"version {document.n}: key of {holder}: {error}") from error
        if length != ED25519_KEY_BYTES:
            raise TrustError(
                f"version {document.n}: key of {holder} has {length} bytes, expected {ED25519_KEY_BYTES}"
            )
