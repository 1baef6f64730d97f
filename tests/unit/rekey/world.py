"""Everybody who signs something, with real keys, so that a test says a true or a forged thing in one line."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from rekey.identity import Identity, TransportKey
from rekey.versions import (
    AeadVersion,
    SecretVersion,
    Version,
    context_of,
    install_remote,
    install_remote_secret,
    install_secret,
)
from rekey_core.authority import Stream, Subjects
from rekey_core.commands import sign_command
from rekey_core.confirmation import (
    Phase,
    commit,
    commitment_input,
    confirmation_input,
    probe_message,
    secret_commitment,
    spki_commitment,
)
from rekey_core.contracts import (
    Activated,
    Dependent,
    Destroyed,
    Generated,
    Message,
    Notice,
    NoticedVersion,
    Person,
    ProbeSignature,
    ReleasedVersion,
    Revoke,
    Signed,
    SignedCommand,
    SignedTrust,
    Stop,
    StoppedVersion,
    Suspend,
    TrustDocument,
)
from rekey_core.encoding import b64u_encode, canonical_json
from rekey_core.envelope import BusMessage, pack, sign
from rekey_core.names import Algorithm, Release, Role, Service
from rekey_core.readers import endorse
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust

ENV, DEPENDENT, KEY = "dev", "orders", "orders-db"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POLICY = "0" * 64
RSA_BITS = 2048
RSA_KEY = rsa.generate_private_key(65537, RSA_BITS)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what HSMs offer


DELIVERY = "d" * 32


def default_algorithm(key: str, release: Release) -> Algorithm:
    """What the keys of these tests are: signing ones, unless their name says otherwise."""
    if release is not Release.NEVER or key.startswith("envelope"):
        return Algorithm.AES_256_GCM
    return Algorithm.HMAC_SHA_256 if key.startswith("mac") else Algorithm.EC_P256


def ssh_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def ssh_public(private: bytes) -> str:
    public = serialization.load_ssh_private_key(private, None).public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


@dataclass
class World:
    """An environment: one trust document, the keys behind it, and an instance of ``orders``."""

    services: dict[Service, SigningKey] = field(
        default_factory=lambda: {s: SigningKey.generate() for s in Service}
    )
    people: dict[str, bytes] = field(
        default_factory=lambda: {n: ssh_key() for n in ("alice", "rita", "oliver")}
    )
    dependent: SigningKey = field(default_factory=SigningKey.generate)
    instance: SigningKey = field(default_factory=SigningKey.generate)
    secrets: dict[int, Secret] = field(default_factory=dict)
    privates: dict[int, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles = {"alice": Role.OWNER, "rita": Role.RESPONDER, "oliver": Role.TRUST_OFFICER}
        document = TrustDocument(
            env=ENV,
            n=1,
            previous=None,
            issued_at=NOW,
            quorum=1,
            services={service: (b64u_encode(key.public_raw),) for service, key in self.services.items()},
            people={
                name: Person(ssh_keys=(ssh_public(key),), roles=(roles[name],), scopes=("*",))
                for name, key in self.people.items()
            },
            dependents={
                name: Dependent(
                    signing_key=b64u_encode(self.dependent.public_raw), transport_key="0" * 64, owner="alice"
                )
                for name in (DEPENDENT, "billing")
            },
        )
        payload = canonical_json(document.model_dump(mode="json"))
        self.genesis = hashlib.sha256(payload).hexdigest()
        self.signed_trust = SignedTrust(payload=b64u_encode(payload), signatures=())
        self.trust = Trust.from_chain([self.signed_trust], genesis=self.genesis, env=ENV)
        self.transport = TransportKey(RSA_KEY)
        self.subjects = Subjects(ENV)

    @property
    def identity(self) -> Identity:
        endorsement = endorse(DEPENDENT, ENV, self.instance.public_raw, self.dependent, at=NOW)
        return Identity(ENV, DEPENDENT, self.instance, endorsement, self.transport)

    def generated(
        self,
        version: int,
        *,
        key: str = KEY,
        release: Release = Release.TRUSTED_RECIPIENT,
        algorithm: Algorithm | None = None,
    ) -> Generated:
        """A version and its secret or private key, made when first asked for."""
        algorithm = algorithm or default_algorithm(key, release)
        fact = Generated(
            id=uuid.uuid4(),
            env=ENV,
            key=key,
            version=version,
            author=Service.GENERATOR,
            checked=0,
            cause="c",
            policy=POLICY,
            at=NOW,
            algorithm=algorithm,
            release=release,
            epoch=1,
            key_id=1000 + version,
            blob_digest=POLICY,
            commitment=POLICY,
        )
        if algorithm is Algorithm.EC_P256:
            private = self.privates.setdefault(version, ec.generate_private_key(ec.SECP256R1()))
            spki = private.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return fact.model_copy(update={"spki": b64u_encode(spki), "commitment": spki_commitment(spki)})
        secret = self.secrets.setdefault(version, Secret(hashlib.sha512(b"%d" % version).digest()))
        context = context_of(fact)
        commitment = secret_commitment(context, commit(secret, commitment_input(context)))
        return fact.model_copy(update={"commitment": commitment})

    def activated(self, version: int, *, key: str = KEY) -> Activated:
        return Activated(
            id=uuid.uuid4(),
            env=ENV,
            key=key,
            version=version,
            author=Service.ROTATION_SCHEDULER,
            checked=0,
            cause="c",
            policy=POLICY,
            at=NOW,
            proved=(),
        )

    def destroyed(self, version: int, *, key: str = KEY, by: Service = Service.GENERATOR) -> Signed:
        """The generator's word that it is gone, or somebody else's."""
        fact = Destroyed(
            id=uuid.uuid4(),
            env=ENV,
            key=key,
            version=version,
            author=Service.GENERATOR,
            checked=0,
            cause="c",
            policy=POLICY,
            at=NOW,
            blob_digest=POLICY,
            epoch=1,
            tombstone=1,
            claimed=(),
            not_claimed=(),
        )
        return self.signed(fact, by)

    def signed(self, model: Message, service: Service) -> Signed:
        return sign(model, self.services[service])

    def released(
        self,
        version: int,
        secret: bytes | None = None,
        algorithm: Algorithm | None = None,
        *,
        under: bytes | None = None,
        key: str = KEY,
    ) -> ReleasedVersion:
        """Wrapped to the RSA key; ``under``: under this AES key, which is wrapped to it."""
        release = Release.TRUSTED_RECIPIENT if under is None else Release.TRANSPORT_KEY
        fact = self.generated(version, key=key, release=release, algorithm=algorithm)
        plain = self.secrets[version].reveal() if secret is None else secret
        public = RSA_KEY.public_key()
        wrapped = public.encrypt(plain, OAEP) if under is None else aes_key_wrap_with_padding(under, plain)
        return ReleasedVersion(
            version=version,
            delivery=DELIVERY,
            wrapped=b64u_encode(wrapped),
            transport=None if under is None else b64u_encode(public.encrypt(under, OAEP)),
            generated=self.signed(fact, Service.GENERATOR),
            activated=None,
        )

    def probe(
        self, fact: Generated, phase: Phase = "installed", instance: str | None = None
    ) -> ProbeSignature:
        nonce = "e" * 32
        message = probe_message(context_of(fact), phase, instance or self.instance.key_id, nonce)
        return ProbeSignature(nonce=nonce, signature=b64u_encode(self.es256(fact.version, message)))

    def es256(self, version: int, message: bytes) -> bytes:
        r, s = decode_dss_signature(self.privates[version].sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def secret_version(self, version: int) -> AeadVersion:
        fact = self.generated(version)
        installed = install_secret(fact, self.released(version), self.transport, self.instance.key_id)
        assert isinstance(installed, AeadVersion)
        return installed

    def mac_version(self, version: int) -> SecretVersion:
        hmac = Algorithm.HMAC_SHA_256
        fact = self.generated(version, algorithm=hmac)
        released = self.released(version, algorithm=hmac)
        return install_secret(fact, released, self.transport, self.instance.key_id)

    def confirmation(self, fact: Generated, phase: Phase, instance: str) -> str:
        """What the HSM computes for an instance; an HMAC stands in for the CMAC of AES keys too."""
        data = confirmation_input(context_of(fact), phase, instance, DELIVERY)
        return commit(self.secrets[fact.version], data).hex()

    def remote_secret_version(self, version: int, key: str = "envelope-root") -> Version:
        fact = self.generated(version, key=key, release=Release.NEVER)
        value = self.confirmation(fact, "installed", self.instance.key_id)
        return install_remote_secret(fact, DELIVERY, value)

    def remote_version(self, version: int, key: str = "token-signer") -> Version:
        fact = self.generated(version, key=key, release=Release.NEVER)
        return install_remote(fact, self.probe(fact), self.instance.key_id)

    def command(
        self,
        version: int,
        *,
        verb: Literal["suspend", "revoke"] = "suspend",
        key: str = KEY,
        author: str = "rita",
        signer: str | None = None,
        env: str = ENV,
        issued_at: datetime = NOW,
    ) -> SignedCommand:
        model = Suspend if verb == "suspend" else Revoke
        command = model(
            env=env,
            key=key,
            author=author,
            nonce="a" * 32,
            author_seq=1,
            issued_at=issued_at,
            expires_at=issued_at + timedelta(seconds=300),
            reason="found on a laptop",
            version=version,
        )
        return sign_command(command, self.people[signer or author])

    def stopped(self, version: int, command: SignedCommand | None = None) -> StoppedVersion:
        return StoppedVersion(version=version, command=command or self.command(version))

    def notice(
        self,
        versions: tuple[int, ...],
        current: int | None = None,
        *,
        as_of: int = 10,
        facts: tuple[Signed, ...] | None = None,
        stopped: tuple[StoppedVersion, ...] = (),
        dependent: str = DEPENDENT,
        key: str = KEY,
        release: Release = Release.TRUSTED_RECIPIENT,
    ) -> Notice:
        if facts is None:
            facts = tuple(
                self.signed(self.generated(v, key=key, release=release), Service.GENERATOR) for v in versions
            )
            if current is not None:
                facts += (self.signed(self.activated(current, key=key), Service.ROTATION_SCHEDULER),)
        return Notice(
            env=ENV,
            dependent=dependent,
            key=key,
            as_of=as_of,
            at=NOW,
            algorithm=default_algorithm(key, release),
            release=release,
            versions=tuple(NoticedVersion(version=v, key_id=1000 + v, state="active") for v in versions),
            current=current,
            stopped=stopped,
            facts=facts,
        )

    def stop(self, *entries: StoppedVersion, key: str = KEY) -> Stop:
        return Stop(env=ENV, dependent=DEPENDENT, key=key, at=NOW, stopped=entries)

    def stored(
        self, model: Message, service: Service, *, sequence: int = 1, subject: str | None = None
    ) -> BusMessage:
        """A notice or stop as the bus gives it, signed by this service."""
        if subject is None:
            place = self.subjects.notice if isinstance(model, Notice) else self.subjects.stop
            subject = place(DEPENDENT, getattr(model, "key", KEY))
        packed = pack(model, self.services[service], source="/rekey/dev/test")
        return BusMessage(Stream.NOTICES.value, subject, packed.headers, packed.data, sequence, NOW)
