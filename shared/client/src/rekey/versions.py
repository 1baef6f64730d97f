"""Versions as an instance holds them: what arrived is checked against the signed ``generated`` before it is one.

A version of a class that leaves the HSM brings its key; of one that never does, its public key. Both bring their proof.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey.identity import TransportKey
from rekey.quota import Quota
from rekey_core.ciphertext import aead_of
from rekey_core.confirmation import (
    Phase,
    VersionContext,
    commit,
    commitment_input,
    confirmation_input,
    probe_message,
    spki_commitment,
)
from rekey_core.contracts import (
    Confirmation,
    Generated,
    NoticedVersion,
    Probe,
    ProbeSignature,
    ReleasedVersion,
)
from rekey_core.encoding import b64u_decode
from rekey_core.errors import RecordError, ReplayedError, SchemaError, SignatureError
from rekey_core.jwk import COORDINATE_BYTES, p256_key, public_jwk
from rekey_core.names import Algorithm, Release
from rekey_core.quotas import is_counted
from rekey_core.secret import Secret


class InFlight:
    """Calls that protect with a version at this moment; safe from any thread (deque's operations are atomic)."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[None] = deque()

    def enter(self) -> None:
        """One more."""
        self._calls.append(None)

    def leave(self) -> None:
        """One less."""
        self._calls.pop()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is inside."""
        return not self._calls


def context_of(fact: Generated) -> VersionContext:
    """Which version a commitment or confirmation of this fact is about."""
    return VersionContext(fact.env, fact.key, fact.version, fact.algorithm, fact.release, fact.epoch)


@dataclass(eq=False)
class SecretVersion:
    """A version whose key is here, for encrypt and decrypt."""

    fact: Generated
    aead: AESGCM
    delivery: str
    installed: str
    in_flight: InFlight
    _secret: Secret
    quota: Quota
    switched: str | None = None

    @property
    def version(self) -> int:
        """Its number."""
        return self.fact.version

    @property
    def id(self) -> int:
        """The key id in ciphertexts."""
        return self.fact.key_id

    @property
    def is_counted(self) -> bool:
        """Whether each message that is protected with it needs a permit."""
        return is_counted(self.fact.algorithm, self.fact.release)

    def confirm_switch(self, instance: str) -> None:
        """Compute what proves that the instance protects with it."""
        data = confirmation_input(context_of(self.fact), "switched", instance, self.delivery)
        self.switched = commit(self._secret, data).hex()

    def proof(self) -> Confirmation:
        """For the receipt."""
        return Confirmation(delivery=self.delivery, installed=self.installed, switched=self.switched)


@dataclass(eq=False)
class RemoteVersion:
    """A version that stays in the HSM: its public key is here, its private key is asked."""

    fact: Generated
    public: ec.EllipticCurvePublicKey
    jwk: dict[str, str]
    installed: ProbeSignature
    in_flight: InFlight
    switched: ProbeSignature | None = None

    @property
    def version(self) -> int:
        """Its number."""
        return self.fact.version

    @property
    def id(self) -> str:
        """The ``kid`` in tokens."""
        return self.jwk["kid"]

    def proof(self) -> Probe:
        """For the receipt."""
        return Probe(installed=self.installed, switched=self.switched)


Version = SecretVersion | RemoteVersion


def check_generated(
    fact: Generated,
    *,
    env: str,
    key: str,
    noticed: NoticedVersion | None,
    algorithm: Algorithm,
    release: Release,
) -> None:
    """The signed fact is about the version that the notice names, and both say the same of it.

    ``noticed`` is None for a version that is not to be held: then it is about any version of the key.

    Raises:
        ReplayedError: it is not.
    """
    found = (fact.env, fact.key, fact.version, fact.key_id, fact.algorithm, fact.release)
    version, key_id = (noticed.version, noticed.key_id) if noticed else (fact.version, fact.key_id)
    expected = (env, key, version, key_id, algorithm, release)
    if found != expected:
        raise ReplayedError(f"generated: expected {_words(expected)}, found {_words(found)}")


def install_secret(
    fact: Generated, released: ReleasedVersion, transport: TransportKey, instance: str
) -> SecretVersion:
    """The version, if what was delivered is what ``generated`` commits to.

    Raises:
        RecordError: it is wrapped to another key, not 64 bytes, or another key than the one that was generated.
        SchemaError: this is not an AES-256-GCM version.
    """
    where = f"{fact.key}@{fact.version}"
    if fact.algorithm is not Algorithm.AES_256_GCM:
        raise SchemaError(f"{where}: expected {Algorithm.AES_256_GCM}, found {fact.algorithm}")
    secret = transport.unwrap(b64u_decode(released.wrapped), where=where)
    context = context_of(fact)
    if not hmac.compare_digest(commit(secret, commitment_input(context)).hex(), fact.commitment):
        raise RecordError(f"{where}: the delivered key is not the one that generated commits to")
    installed = commit(secret, confirmation_input(context, "installed", instance, released.delivery)).hex()
    return SecretVersion(
        fact, aead_of(secret), released.delivery, installed, InFlight(), secret, Quota(where)
    )


def public_key(fact: Generated) -> ec.EllipticCurvePublicKey:
    """The public key in ``generated``.

    Raises:
        RecordError: there is none, or not the one that the fact commits to.
        SchemaError: not a P-256 key.
    """
    where = f"{fact.key}@{fact.version}"
    if fact.spki is None:
        raise RecordError(f"{where}: generated has no public key")
    spki = b64u_decode(fact.spki)
    if not hmac.compare_digest(spki_commitment(spki), fact.commitment):
        raise RecordError(f"{where}: the public key is not the one that generated commits to")
    return p256_key(spki)


def data_id(fact: Generated) -> int | str:
    """What data of the version carries: the key id in ciphertexts, or the ``kid`` in tokens. Raises as ``public_key``."""
    if fact.algorithm is Algorithm.AES_256_GCM:
        return fact.key_id
    public_key(fact)
    return public_jwk(b64u_decode(fact.spki or ""))["kid"]


def install_remote(fact: Generated, proof: ProbeSignature, instance: str) -> RemoteVersion:
    """The version, if the HSM answered this instance's probe with it. Raises as ``public_key`` and ``check_probe``."""
    key = public_key(fact)
    check_probe(fact, key, proof, "installed", instance)
    return RemoteVersion(fact, key, public_jwk(b64u_decode(fact.spki or "")), proof, InFlight())


def check_probe(
    fact: Generated, key: ec.EllipticCurvePublicKey, proof: ProbeSignature, phase: Phase, instance: str
) -> None:
    """Return if the signature is over this instance's probe.

    Raises:
        SignatureError: it is not.
    """
    message = probe_message(context_of(fact), phase, instance, proof.nonce)
    verify_ecdsa(key, message, b64u_decode(proof.signature), where=f"probe of {fact.key}@{fact.version}")


def verify_ecdsa(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes, *, where: str) -> None:
    """Return if ``signature`` (r‖s, FIPS 186-5 §6) is over the SHA-256 of the message.

    Raises:
        SignatureError: it is not.
    """
    if len(signature) != 2 * COORDINATE_BYTES:
        raise SignatureError(
            f"{where}: expected {2 * COORDINATE_BYTES} bytes of signature, found {len(signature)}"
        )
    r, s = (
        int.from_bytes(part, "big") for part in (signature[:COORDINATE_BYTES], signature[COORDINATE_BYTES:])
    )
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureError(f"{where}: the signature is not by this version") from error


def _words(parts: Collection[object]) -> str:
    return "/".join(str(part) for part in parts)
