"""A small world for rules: keys of services and people, a trust document, and facts that are signed as in life."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rekey_core.backups import lacks_backup
from rekey_core.commands import command_id, sign_command
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    TRUST_NAMESPACE,
    Activated,
    BackedUp,
    CancelDestruction,
    Command,
    Compromised,
    Cosignature,
    Deactivated,
    Dependent,
    Destroy,
    Destroyed,
    DestructionCancelled,
    DestructionScheduled,
    Fact,
    Generated,
    Granted,
    OfficerSignature,
    Person,
    Register,
    Registered,
    Revoke,
    Rotate,
    RotationRequested,
    SignedCommand,
    SignedTrust,
    Suspend,
    Suspended,
    TrustDocument,
    event_id,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import Stored, sign
from rekey_core.fold import KeyState, fold
from rekey_core.names import Algorithm, Release, Role, Service
from rekey_core.policy import POLICY_DIGEST, class_named
from rekey_core.signatures import SCHEMES, PublicKey
from rekey_core.signing import SigningKey
from rekey_core.sshsig import public_key_of
from rekey_core.sshsig import sign as ssh_sign
from rekey_core.trust import Trust, issue, payload_of

ENV: Final = "dev"
NOW: Final = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def ssh_key() -> bytes:
    """A fresh ssh-ed25519 private key in OpenSSH's own format."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def p256_spki() -> bytes:
    """The public half of a fresh P-256 key."""
    return spki_of(Algorithm.EC_P256)


def spki_of(algorithm: Algorithm) -> bytes:
    """The public half of a fresh key of this algorithm."""
    if algorithm is Algorithm.RSA_3072:
        public: PublicKey = rsa.generate_private_key(65537, 3072).public_key()
    else:
        curve = ec.SECP256R1() if algorithm is Algorithm.EC_P256 else ec.SECP384R1()
        public = ec.generate_private_key(curve).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


PEOPLE: Final[dict[str, tuple[tuple[Role, ...], tuple[str, ...]]]] = {
    "alice": ((Role.OWNER,), ("orders-*", "token-*")),
    "otto": ((Role.OWNER,), ("*",)),
    "rita": ((Role.RESPONDER,), ("*",)),
    "adam": ((Role.AUDITOR,), ("*",)),
    "oliver": ((Role.TRUST_OFFICER,), ()),
    "olga": ((Role.TRUST_OFFICER,), ()),
    "odile": ((Role.TRUST_OFFICER,), ()),
}


@dataclass
class World:
    """Everybody's private keys, and the log of one key."""

    services: dict[Service, SigningKey] = field(
        default_factory=lambda: {s: SigningKey.generate() for s in Service}
    )
    people: dict[str, bytes] = field(default_factory=lambda: {name: ssh_key() for name in PEOPLE})
    dependents: dict[str, SigningKey] = field(
        default_factory=lambda: {name: SigningKey.generate() for name in ("orders", "billing")}
    )
    log: list[Stored[Fact]] = field(default_factory=list)
    nonces: int = 0

    def document(self, **changes: Any) -> TrustDocument:
        """The first trust document, with changes."""
        people = {
            name: Person(ssh_keys=(public_key_of(self.people[name]),), roles=roles, scopes=scopes)
            for name, (roles, scopes) in PEOPLE.items()
        }
        fields: dict[str, Any] = {
            "env": ENV,
            "n": 1,
            "previous": None,
            "issued_at": NOW,
            "quorum": 2,
            "services": {s: (b64u_encode(key.public_raw),) for s, key in self.services.items()},
            "people": people,
            "dependents": {
                name: Dependent(
                    signing_key=b64u_encode(key.public_raw),
                    transport_key=hashlib.sha256(name.encode()).hexdigest(),
                    owner="alice",
                )
                for name, key in self.dependents.items()
            },
        }
        return TrustDocument.model_validate(fields | changes)

    @property
    def genesis(self) -> SignedTrust:
        """The first document, which needs no signature."""
        return issue(self.document(), ())

    @cached_property
    def trust(self) -> Trust:
        """What everybody believes."""
        digest = hashlib.sha256(_payload(self.genesis)).hexdigest()
        return Trust.from_chain([self.genesis], genesis=digest, env=ENV)

    def next_trust(self, *officers: str, by: str | None = None, **changes: Any) -> SignedTrust:
        """The document after the first, signed by the officers named; ``by``: with that person's key instead."""
        document = self.document(**({"n": 2, "previous": self.trust.digest} | changes))
        payload = payload_of(document)
        return issue(
            document,
            [
                OfficerSignature(person=name, sshsig=self.officer(by or name, payload, TRUST_NAMESPACE))
                for name in officers
            ],
        )

    def officer(self, name: str, payload: bytes, namespace: str) -> str:
        """An SSHSIG by one of the people."""
        return ssh_sign(self.people[name], payload, namespace)

    def command(self, kind: type[Command], author: str, key: str = "orders-db", **fields: Any) -> Command:
        """A command of ten minutes, not signed yet."""
        self.nonces += 1
        common = {
            "env": ENV,
            "key": key,
            "author": author,
            "nonce": f"{self.nonces:032x}",
            "author_seq": self.nonces,
            "issued_at": NOW,
            "expires_at": NOW + timedelta(minutes=10),
            "reason": "a test",
        }
        return kind.model_validate(common | fields)

    def signed(self, command: Command, by: str | None = None) -> SignedCommand:
        """The command, signed by its author or by somebody else."""
        return sign_command(command, self.people[by or command.author])

    def register(self, key: str = "orders-db", author: str = "alice", **fields: Any) -> SignedCommand:
        """Alice registers orders-db for orders and billing."""
        body: dict[str, Any] = {
            "key_class": "application-data",
            "purpose": "orders at rest",
            "dependents": ("orders", "billing"),
        }
        return self.signed(self.command(Register, author, key, **(body | fields)))

    def rotate(self, author: str = "alice", key: str = "orders-db") -> SignedCommand:
        """Alice asks for a new version."""
        return self.signed(self.command(Rotate, author, key))

    def suspend(self, version: int, author: str = "rita", key: str = "orders-db") -> SignedCommand:
        """Rita suspends a version."""
        return self.signed(self.command(Suspend, author, key, version=version))

    def revoke(self, version: int, author: str = "rita", key: str = "orders-db") -> SignedCommand:
        """Rita revokes a version."""
        return self.signed(self.command(Revoke, author, key, version=version))

    def together(self, command: Command, *others: str) -> SignedCommand:
        """The command, signed by its author and cosigned by these people."""
        signed = self.signed(command)
        payload = b64u_decode(signed.payload)
        more = tuple(
            Cosignature(person=name, sshsig=self.officer(name, payload, COMMAND_NAMESPACE)) for name in others
        )
        return signed.model_copy(update={"cosignatures": more})

    def destroy(
        self, version: int, *others: str, author: str = "alice", key: str = "orders-db", **fields: Any
    ) -> SignedCommand:
        """Alice wants a version destroyed, and otto (or others) with her."""
        return self.together(
            self.command(Destroy, author, key, version=version, **fields), *(others or ("otto",))
        )

    def cancel(self, version: int, author: str = "alice", **fields: Any) -> SignedCommand:
        """Alice takes it back, having seen everything that there is."""
        seen = fields.pop("seen", self.log[-1].sequence)
        return self.signed(self.command(CancelDestruction, author, version=version, seen=seen, **fields))

    def fact(
        self, kind: type[Fact], version: int, cause: str = "cause", ordinal: int = 0, **fields: Any
    ) -> Fact:
        """The next fact of the key: checked sequence and author are right unless the fields say otherwise."""
        key = fields.pop("key", "orders-db")
        common = {
            "id": event_id(cause, kind.TYPE, ENV, key, version, ordinal),
            "env": ENV,
            "key": key,
            "version": version,
            "author": kind.AUTHOR,
            "checked": self.log[-1].sequence if self.log else 0,
            "cause": cause,
            "policy": POLICY_DIGEST,
            "at": NOW,
        }
        return kind.model_validate(common | fields)

    def stored(self, fact: Fact, *, at: datetime = NOW, gap: int = 3) -> Stored[Fact]:
        """The fact as the stream would give it back; ``gap``: facts of other keys in between."""
        sequence = (self.log[-1].sequence if self.log else 0) + gap
        return Stored(fact, sequence, at, f"subject-{sequence}", sign(fact, self.services[fact.AUTHOR]))

    def add(self, fact: Fact, **how: Any) -> Stored[Fact]:
        """Append to the log of the key."""
        stored = self.stored(fact, **how)
        self.log.append(stored)
        return stored

    def registered(
        self,
        command: SignedCommand | None = None,
        *,
        release: str = "trusted-recipient",
        key_class: str | None = None,
        key: str = "orders-db",
    ) -> None:
        """``registered`` and both ``granted``; the class is one of the release kind, if it is not named."""
        is_signing = release == Release.NEVER.value
        key_class = key_class or ("token-signing" if is_signing else "application-data")
        kind = class_named(key_class)
        command = command or self.register(key, key_class=key_class)
        cause = command_id(command)
        self.add(
            self.fact(
                Registered,
                0,
                cause,
                key=key,
                owner="alice",
                key_class=key_class,
                algorithm=kind.algorithm,
                release=kind.release,
                purpose="orders at rest",
                cryptoperiod_s=kind.cryptoperiod_s,
                command=command,
            )
        )
        for number, name in enumerate(("billing", "orders")):
            self.add(self.fact(Granted, 0, cause, number, key=key, dependent=name, command=command))

    def requested(self, version: int) -> Stored[Fact]:
        """A request of policy for a version."""
        deadline = NOW + timedelta(hours=1)
        return self.add(
            self.fact(RotationRequested, version, f"time-{version}", reason="time", deadline=deadline)
        )

    def generated(
        self, version: int, request: Stored[Fact], *, backed_up: bool = True, **fields: Any
    ) -> Stored[Fact]:
        """The version that the request asked for, backed up as well where its class wants that."""
        state = self.state()
        spki = spki_of(state.algorithm) if state.algorithm and state.algorithm in SCHEMES else None
        body: dict[str, Any] = {
            "algorithm": state.algorithm,
            "release": state.release,
            "epoch": 1,
            "key_id": 1000 + version,
            "blob_digest": "ab" * 32,
            "commitment": hashlib.sha256(spki).hexdigest() if spki else "cd" * 32,
            "spki": b64u_encode(spki) if spki else None,
        }
        made = self.add(self.fact(Generated, version, str(request.model.id), **(body | fields)))
        found = self.state().versions.get(version)
        if (
            backed_up
            and found is not None
            and found.generated is not None
            and lacks_backup(found, self.state().key_class)
        ):
            self.backed_up(version)
        return made

    def backed_up(self, version: int, **fields: Any) -> Stored[Fact]:
        """The version lies under a backup KEK as well."""
        made = self.state().versions[version].generated
        cause = fields.pop("cause", str(made.model.id) if made else "nothing")
        body: dict[str, Any] = {"backup_epoch": 1, "blob_digest": "ef" * 32}
        return self.add(self.fact(BackedUp, version, cause, **(body | fields)))

    def activated(self, version: int, **how: Any) -> Stored[Fact]:
        """The version becomes current."""
        made = self.state().versions.get(version)
        cause = str(made.generated.model.id) if made and made.generated else "nothing"
        return self.add(self.fact(Activated, version, cause, proved=()), **how)

    def deactivated(self, version: int) -> Stored[Fact]:
        """The version is only processed with."""
        state = self.state()
        activated = state.versions[state.current].activated if state.current else None
        cause = str(activated.model.id) if activated else "nothing"
        return self.add(self.fact(Deactivated, version, cause, proved=()))

    def suspended(self, version: int) -> Stored[Fact]:
        """The suspension by rita as a fact."""
        command = self.suspend(version)
        return self.add(self.fact(Suspended, version, command_id(command), command=command))

    def compromised(self, version: int) -> Stored[Fact]:
        """The revocation by rita as a fact."""
        command = self.revoke(version)
        return self.add(self.fact(Compromised, version, command_id(command), command=command))

    def scheduled(
        self, version: int, command: SignedCommand | None = None, *, at: datetime = NOW, **fields: Any
    ) -> Stored[Fact]:
        """Its destruction by alice and otto as a fact; that it is not before now binds nobody (fold)."""
        command = command or self.destroy(version)
        cause = fields.pop("cause", command_id(command))
        body: dict[str, Any] = {"not_before": at, "command": command} | fields
        return self.add(self.fact(DestructionScheduled, version, cause, **body), at=at)

    def cancelled(self, version: int, command: SignedCommand | None = None, **how: Any) -> Stored[Fact]:
        """The destruction taken back as a fact."""
        command = command or self.cancel(version)
        fact = self.fact(DestructionCancelled, version, command_id(command), command=command)
        return self.add(fact, **how)

    def destroyed(self, version: int, *, at: datetime, **fields: Any) -> Stored[Fact]:
        """What is scheduled as carried out."""
        found = self.state().versions[version]
        made = found.generated.model if found.generated else None
        body: dict[str, Any] = {
            "cause": str(found.destruction.scheduled.model.id) if found.destruction else "nothing",
            "blob_digest": made.blob_digest if made else None,
            "epoch": made.epoch if made else None,
            "tombstone": 7,
            "claimed": ("wrapped-blob-overwritten",),
            "not_claimed": (),
        }
        return self.add(self.fact(Destroyed, version, **(body | fields)), at=at)

    def version(self, number: int) -> None:
        """Requested, generated and activated."""
        self.generated(number, self.requested(number))
        self.activated(number)

    def state(self) -> KeyState:
        """The fold of the log."""
        return fold(ENV, "orders-db", self.log, self.trust)


def _payload(signed: SignedTrust) -> bytes:
    return b64u_decode(signed.payload)
