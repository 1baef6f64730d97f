"""A log made by hand: real keys, real signatures, real commands, one message after the other."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from rekey_core.authority import Subjects
from rekey_core.commands import command_id, sign_command
from rekey_core.contracts import (
    Activated,
    BackedUp,
    Command,
    Delivered,
    Delivery,
    Fact,
    Generated,
    Granted,
    Message,
    Register,
    Registered,
    RotationRequested,
    SignedCommand,
    SignedTrust,
    Suspend,
    Suspended,
    TrustDocument,
    event_id,
)
from rekey_core.contracts.trust import Dependent, Person
from rekey_core.encoding import b64u_encode, canonical_json, sha256_hex
from rekey_core.envelope import BusMessage, pack
from rekey_core.names import Role, Service
from rekey_core.policy import POLICY_DIGEST, class_named
from rekey_core.signatures import SCHEMES
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust

ENV = "dev"
KEY = "orders-db"
START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
PEOPLE = {
    "alice": (Role.OWNER, ("orders-*",)),
    "otto": (Role.OWNER, ("other-*",)),
    "rita": (Role.RESPONDER, ("*",)),
    "adam": (Role.AUDITOR, ("orders-*",)),
    "oliver": (Role.TRUST_OFFICER, ("*",)),
}


@dataclass
class Log:
    """One environment's log, and everybody who writes to it."""

    services: dict[Service, SigningKey] = field(
        default_factory=lambda: {s: SigningKey.generate() for s in Service}
    )
    people: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {name: Ed25519PrivateKey.generate() for name in PEOPLE}
    )
    messages: list[BusMessage] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)  # key → sequence of its last fact

    @property
    def now(self) -> datetime:
        """When the next message is stored: one second after the other."""
        return START + timedelta(seconds=len(self.messages))

    def trust(self) -> Trust:
        """Who is who."""
        document = TrustDocument(
            env=ENV,
            n=1,
            previous=None,
            issued_at=START,
            quorum=1,
            services={s: (b64u_encode(key.public_raw),) for s, key in self.services.items()},
            people={
                name: Person(ssh_keys=(self._public(name),), roles=(role,), scopes=scopes)
                for name, (role, scopes) in PEOPLE.items()
            },
            dependents={
                name: Dependent(signing_key=b64u_encode(bytes(32)), transport_key="0" * 64, owner="alice")
                for name in ("orders", "billing")
            },
        )
        payload = canonical_json(document.model_dump(mode="json"))
        signed = SignedTrust(payload=b64u_encode(payload), signatures=())
        return Trust.from_chain([signed], genesis=sha256_hex(payload), env=ENV)

    def _public(self, name: str) -> str:
        return self.people[name].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def sign(self, command: Command) -> SignedCommand:
        """As its author."""
        pem = self.people[command.author].private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        return sign_command(command, pem)

    def command(self, model: type[Command], author: str, key: str = KEY, **fields: object) -> SignedCommand:
        """A signed command of this moment."""
        said = {"reason": "a test", "nonce": uuid.uuid4().hex, "author_seq": len(self.messages), **fields}
        times = {"issued_at": self.now, "expires_at": self.now + timedelta(seconds=300)}
        return self.sign(model.model_validate({"env": ENV, "key": key, "author": author, **times, **said}))

    def fact(
        self, model: type[Fact], version: int, cause: str, key: str = KEY, **fields: object
    ) -> BusMessage:
        """Append a fact of its own author, with the right check."""
        made = model.model_validate(
            {
                "id": event_id(cause, model.TYPE, ENV, key, version, len(self.messages)),
                "env": ENV,
                "key": key,
                "version": version,
                "author": model.AUTHOR,
                "checked": self.last.get(key, 0),
                "cause": cause,
                "policy": POLICY_DIGEST,
                "at": self.now,
                **fields,
            }
        )
        subject = Subjects(ENV).fact(key, version, made.author, made.EVENT, made.id.hex)
        return self.store(subject, made, made.author, key)

    def store(self, subject: str, model: Message, author: Service, key: str | None = None) -> BusMessage:
        """Append whatever it is, signed by ``author``; with ``key`` it counts as the key's last fact."""
        packed = pack(model, self.services[author], source=f"/rekey/{ENV}/{author}")
        return self.append(BusMessage("LIFECYCLE", subject, packed.headers, packed.data, 0, START), key)

    def append(self, message: BusMessage, key: str | None = None) -> BusMessage:
        """Append it as it is, at the next sequence."""
        stored = replace(message, sequence=len(self.messages) + 1, stored_at=self.now)
        self.messages.append(stored)
        if key is not None:
            self.last[key] = stored.sequence
        return stored

    def registered(
        self, key: str = KEY, owner: str = "alice", dependents: tuple[str, ...] = ("orders", "billing")
    ) -> str:
        """A key with a version that is requested; the command's id."""
        command = self.command(
            Register, owner, key, key_class="application-data", purpose="a test", dependents=dependents
        )
        cause, kind = command_id(command), class_named("application-data")
        self.fact(
            Registered,
            0,
            cause,
            key,
            owner=owner,
            key_class="application-data",
            algorithm=kind.algorithm,
            release=kind.release,
            purpose="a test",
            cryptoperiod_s=kind.cryptoperiod_s,
            command=command,
        )
        for name in dependents:
            self.fact(Granted, 0, cause, key, dependent=name, command=command)
        self.fact(RotationRequested, 1, cause, key, reason="initial", deadline=self.now)
        return cause

    def requested(self, version: int, key: str = KEY) -> BusMessage:
        """A rotation, because it is time."""
        return self.fact(RotationRequested, version, f"time-{version}", key, reason="time", deadline=self.now)

    def generated(self, version: int = 1, key: str = KEY, epoch: int = 1) -> BusMessage:
        """The version exists, under the KEK of an epoch."""
        kind = class_named("application-data")
        request = next(
            m
            for m in reversed(self.messages)
            if f".{key}.{version}." in m.subject and "requested" in m.subject
        )
        cause = str(RotationRequested.model_validate_json(request.data).id)
        digests = {"blob_digest": "a" * 64, "commitment": "b" * 64}
        return self.fact(
            Generated,
            version,
            cause,
            key,
            algorithm=kind.algorithm,
            release=kind.release,
            epoch=epoch,
            key_id=1000 + version,
            **digests,
        )

    def activated(self, version: int = 1, key: str = KEY) -> BusMessage:
        """The version is current; backed up before that, where its class wants it."""
        place = f".{key}.{version}.generator.generated."
        found = next((m for m in reversed(self.messages) if place in m.subject), None)
        made = Generated.model_validate_json(found.data) if found else None
        cause = str(made.id) if made else "nothing"
        if made is not None and made.algorithm not in SCHEMES:
            self.fact(BackedUp, version, cause, key, backup_epoch=1, blob_digest="e" * 64)
        return self.fact(Activated, version, cause, key, proved=())

    def suspended(self, version: int = 1, key: str = KEY) -> BusMessage:
        """Rita stops the version."""
        command = self.command(Suspend, "rita", key, version=version)
        return self.fact(Suspended, version, command_id(command), key, command=command)

    def delivered(
        self, version: int = 1, dependent: str = "orders", checked: int | None = None
    ) -> BusMessage:
        """The distributor gives the version to one instance."""
        delivery = Delivery(
            delivery=uuid.uuid4().hex,
            dependent=dependent,
            instance="0" * 32,
            installed="c" * 64,
            switched="d" * 64,
        )
        batch = Delivered(
            id=uuid.uuid4(),
            env=ENV,
            key=KEY,
            version=version,
            checked=self.last[KEY] if checked is None else checked,
            at=self.now,
            deliveries=(delivery,),
        )
        return self.store(Subjects(ENV).delivered(KEY, version, batch.id.hex), batch, Service.DISTRIBUTOR)
