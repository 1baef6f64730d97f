"""Versions as an instance holds them: what arrived is checked against the signed ``generated`` before it is one.

A version of a class that leaves the HSM brings its key; one that signs inside it its public key; a secret that never leaves
brings nothing. All bring their proof.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

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
    secret_commitment,
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
from rekey_core.errors import RecordError, ReplayedError, SchemaError
from rekey_core.jwk import public_jwk
from rekey_core.mac import mac_key_of
from rekey_core.names import Algorithm, Release
from rekey_core.quotas import is_counted
from rekey_core.secret import Secret
from rekey_core.signatures import SCHEMES, PublicKey, public_key_of, verify_signature


class InFlight:
    """Calls that protect with a version at this moment; safe from any thread (deque's operations are atomic).

    ``enter``: one more; ``leave``: one less. Neither is a call of Python: each would cost a tenth of the cipher's time.
    """

    __slots__ = ("_calls", "enter", "leave")

    def __init__(self) -> None:
        self._calls: deque[None] = deque()
        self.enter: Callable[[], None] = partial(self._calls.append, None)
        self.leave: Callable[[], None] = self._calls.pop

    @property
    def is_empty(self) -> bool:
        """Whether nobody is inside."""
        return not self._calls


def context_of(fact: Generated) -> VersionContext:
    """Which version a commitment or confirmation of this fact is about."""
    return VersionContext(fact.env, fact.key, fact.version, fact.algorithm, fact.release, fact.epoch)


@dataclass(eq=False, kw_only=True)
class ConfirmedVersion:
    """A secret that the instance confirms by values that only a holder can compute."""

    fact: Generated
    delivery: str
    installed: str
    in_flight: InFlight
    switched: str | None = None

    @property
    def version(self) -> int:
        """Its number."""
        return self.fact.version

    @property
    def id(self) -> int:
        """The key id in ciphertexts and MACs."""
        return self.fact.key_id

    def proof(self) -> Confirmation:
        """For the receipt."""
        return Confirmation(delivery=self.delivery, installed=self.installed, switched=self.switched)


@dataclass(eq=False, kw_only=True)
class SecretVersion(ConfirmedVersion):
    """A version whose key is here."""

    secret: Secret
    quota: Quota

    @property
    def is_counted(self) -> bool:
        """Whether each message that is protected with it needs a permit."""
        return is_counted(self.fact.algorithm, self.fact.release)

    def confirm_switch(self, instance: str) -> None:
        """Compute what proves that the instance protects with it."""
        data = confirmation_input(context_of(self.fact), "switched", instance, self.delivery)
        self.switched = commit(self.secret, data).hex()


@dataclass(eq=False, kw_only=True)
class AeadVersion(SecretVersion):
    """For encrypt and decrypt."""

    aead: AESGCM


@dataclass(eq=False, kw_only=True)
class MacVersion(SecretVersion):
    """For MACs; the application's key is a part of the secret."""

    key: Secret


@dataclass(eq=False)
class RemoteVersion:
    """A version that signs inside the HSM: its public key is here, its private key is asked."""

    fact: Generated
    public: PublicKey
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


class RemoteSecretVersion(ConfirmedVersion):
    """A secret that never leaves the HSM: nothing of it is here but what the HSM confirmed to this instance."""


Version = SecretVersion | RemoteVersion | RemoteSecretVersion


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
        SchemaError: this is not a version that leaves the HSM.
    """
    where = f"{fact.key}@{fact.version}"
    if fact.algorithm in SCHEMES or fact.release is Release.NEVER:
        raise SchemaError(f"{where}: {fact.algorithm} with release {fact.release} does not leave the HSM")
    secret = _unwrapped(fact, released, transport, where)
    context = context_of(fact)
    commitment = secret_commitment(context, commit(secret, commitment_input(context)))
    if not hmac.compare_digest(commitment, fact.commitment):
        raise RecordError(f"{where}: the delivered key is not the one that generated commits to")
    installed = commit(secret, confirmation_input(context, "installed", instance, released.delivery)).hex()
    common = _Common(
        fact=fact,
        delivery=released.delivery,
        installed=installed,
        in_flight=InFlight(),
        secret=secret,
        quota=Quota(where),
    )
    if fact.algorithm is Algorithm.HMAC_SHA_256:
        return MacVersion(**common, key=mac_key_of(secret))
    return AeadVersion(**common, aead=aead_of(secret))


def _unwrapped(fact: Generated, released: ReleasedVersion, transport: TransportKey, where: str) -> Secret:
    """Wrapped as the class's release says and no other way."""
    if (released.transport is not None) is not (fact.release is Release.TRANSPORT_KEY):
        came = "without" if released.transport is None else "with"
        raise RecordError(f"{where} is of release {fact.release} and came {came} an AES transport key")
    wrapped = b64u_decode(released.wrapped)
    if released.transport is None:
        return transport.unwrap(wrapped, where=where)
    return transport.unwrap_under(b64u_decode(released.transport), wrapped, where=where)


def public_key(fact: Generated) -> PublicKey:
    """The public key in ``generated``.

    Raises:
        RecordError: there is none, or not the one that the fact commits to.
        SchemaError: not a key of the version's algorithm.
    """
    where = f"{fact.key}@{fact.version}"
    if fact.spki is None:
        raise RecordError(f"{where}: generated has no public key")
    spki = b64u_decode(fact.spki)
    if not hmac.compare_digest(spki_commitment(spki), fact.commitment):
        raise RecordError(f"{where}: the public key is not the one that generated commits to")
    return public_key_of(fact.algorithm, spki)


def data_id(fact: Generated) -> int | str:
    """What data of the version carries: the key id in ciphertexts and MACs, or the ``kid`` in tokens.

    Raises as ``public_key``.
    """
    if fact.algorithm not in SCHEMES:
        return fact.key_id
    public_key(fact)
    return public_jwk(fact.algorithm, b64u_decode(fact.spki or ""))["kid"]


def install_remote(fact: Generated, proof: ProbeSignature, instance: str) -> RemoteVersion:
    """The version, if the HSM answered this instance's probe with it. Raises as ``public_key`` and ``check_probe``."""
    key = public_key(fact)
    check_probe(fact, key, proof, "installed", instance)
    jwk = public_jwk(fact.algorithm, b64u_decode(fact.spki or ""))
    return RemoteVersion(fact, key, jwk, proof, InFlight())


def install_remote_secret(fact: Generated, delivery: str, value: str) -> RemoteSecretVersion:
    """The version, as the HSM confirmed it. Whether the value is right only who has the delivery's hash can say."""
    return RemoteSecretVersion(fact=fact, delivery=delivery, installed=value, in_flight=InFlight())


def check_probe(fact: Generated, key: PublicKey, proof: ProbeSignature, phase: Phase, instance: str) -> None:
    """Return if the signature is over this instance's probe.

    Raises:
        SignatureError: it is not.
    """
    message = probe_message(context_of(fact), phase, instance, proof.nonce)
    where = f"probe of {fact.key}@{fact.version}"
    verify_signature(fact.algorithm, key, message, b64u_decode(proof.signature), where=where)


class _Common(TypedDict):
    fact: Generated
    delivery: str
    installed: str
    in_flight: InFlight
    secret: Secret
    quota: Quota


def _words(parts: Collection[object]) -> str:
    return "/".join(str(part) for part in parts)
