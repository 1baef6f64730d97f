"""Who this instance is: a key of its own, endorsed by its dependent, and the dependent's transport key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from rekey.settings import Settings
from rekey_core.confirmation import SECRET_BYTES
from rekey_core.contracts import Endorsement
from rekey_core.errors import ConfigurationError, RecordError
from rekey_core.readers import endorse
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey

# RFC 8017 §7.1 with SHA-1: what every HSM offers. OAEP needs no collision resistance of its hash (notes: hsm §8).
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303


class TransportKey:
    """The dependent's RSA key; its public half is the one that the HSM's security officer marked trusted."""

    __slots__ = ("_private", "spki_sha256")

    def __init__(self, private: RSAPrivateKey) -> None:
        self._private = private
        spki = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.spki_sha256 = hashlib.sha256(spki).hexdigest()

    def unwrap(self, wrapped: bytes, *, where: str) -> Secret:
        """The 64 bytes of a version.

        Raises:
            RecordError: wrapped to another key, or not 64 bytes.
        """
        try:
            secret = Secret(self._private.decrypt(wrapped, _OAEP))
        except ValueError as error:
            raise RecordError(f"{where} is not wrapped to transport key {self.spki_sha256[:16]}") from error
        if len(secret) != SECRET_BYTES:
            raise RecordError(f"{where}: expected a secret of {SECRET_BYTES} bytes, found {len(secret)}")
        return secret

    def __repr__(self) -> str:
        return f"TransportKey({self.spki_sha256[:16]})"


@dataclass(frozen=True)
class Identity:
    """An instance of a dependent."""

    env: str
    dependent: str
    key: SigningKey
    endorsement: Endorsement
    transport: TransportKey

    @property
    def instance(self) -> str:
        """The instance's id: its key's."""
        return self.key.key_id

    @classmethod
    def start(cls, settings: Settings) -> Identity:
        """A new instance: a fresh key, endorsed.

        Raises:
            ConfigurationError: a key file is missing or holds something else.
        """
        try:
            dependent = SigningKey.from_pem(settings.signing_key.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"signing key {settings.signing_key}: expected an Ed25519 key, PEM"
            ) from error
        key = SigningKey.generate()
        endorsement = endorse(settings.dependent, settings.env, key.public_raw, dependent)
        return cls(settings.env, settings.dependent, key, endorsement, _transport(settings.transport_key))


def _transport(path: Path) -> TransportKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"transport key {path}: expected an RSA key, PEM") from error
    if not isinstance(private, RSAPrivateKey):
        raise ConfigurationError(f"transport key {path}: expected an RSA key, found {type(private).__name__}")
    return TransportKey(private)
