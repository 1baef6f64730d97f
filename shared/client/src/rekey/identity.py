"""Who this instance is: a key of its own, endorsed by its dependent, and the dependent's transport key."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from rekey.settings import Settings
from rekey_core.confirmation import SECRET_BYTES
from rekey_core.contracts import Endorsement
from rekey_core.errors import ConfigurationError, RecordError
from rekey_core.readers import endorse
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey

# RFC 8017 §7.1 with SHA-1: what every HSM offers. OAEP needs no collision resistance of its hash (notes: hsm §8).
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303


AES_BYTES: Final = 32
KEPT_KEYS: Final = 8  # AES transport keys kept opened: one for each replica of the distributor


class TransportKey:
    """The dependent's RSA key; its public half is the one that the HSM's security officer marked trusted."""

    __slots__ = ("_opened", "_private", "spki_sha256")

    def __init__(self, private: RSAPrivateKey) -> None:
        self._private = private
        self._opened: OrderedDict[bytes, Secret] = OrderedDict()
        spki = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.spki_sha256 = hashlib.sha256(spki).hexdigest()

    def unwrap(self, wrapped: bytes, *, where: str) -> Secret:
        """The 64 bytes of a version.

        Raises:
            RecordError: wrapped to another key, or not 64 bytes.
        """
        return _of_length(self._decrypt(wrapped, where), SECRET_BYTES, where=where)

    def unwrap_under(self, transport: bytes, wrapped: bytes, *, where: str) -> Secret:
        """The 64 bytes of a version that is wrapped under an AES key (RFC 5649), itself wrapped to this key.

        Raises:
            RecordError: one of the two is wrapped otherwise, or has another length.
        """
        key = self._opened.get(transport)
        if key is None:
            key = _of_length(self._decrypt(transport, where), AES_BYTES, where=f"{where}: AES transport key")
        secret = _of_length(unwrapped(key, wrapped, where=where), SECRET_BYTES, where=where)
        self._keep(transport, key)
        return secret

    def _decrypt(self, wrapped: bytes, where: str) -> Secret:
        try:
            return Secret(self._private.decrypt(wrapped, _OAEP))
        except ValueError as error:
            raise RecordError(f"{where} is not wrapped to transport key {self.spki_sha256[:16]}") from error

    def _keep(self, transport: bytes, key: Secret) -> None:
        """Opened keys by their wrapped form, which names them: opening one takes a thousand times as long as using it."""
        self._opened[transport] = key
        self._opened.move_to_end(transport)
        if len(self._opened) > KEPT_KEYS:
            self._opened.popitem(last=False)

    def __repr__(self) -> str:
        return f"TransportKey({self.spki_sha256[:16]})"


def unwrapped(key: Secret, wrapped: bytes, *, where: str) -> Secret:
    """What is wrapped under an AES key (AES-KWP, RFC 5649 §4.2).

    Raises:
        RecordError: wrapped under another key, or altered.
    """
    try:
        return Secret(aes_key_unwrap_with_padding(key.reveal(), wrapped))
    except InvalidUnwrap as error:
        raise RecordError(f"{where} is not wrapped under the AES key that came with it") from error


def _of_length(secret: Secret, expected: int, *, where: str) -> Secret:
    if len(secret) != expected:
        raise RecordError(f"{where}: expected a secret of {expected} bytes, found {len(secret)}")
    return secret


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
    def start(cls, settings: Settings, transport: TransportKey | None = None) -> Identity:
        """A new instance: a fresh key, endorsed; ``transport``: the dependent's, if this process has it already.

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
        transport = transport or _transport(settings.transport_key)
        return cls(settings.env, settings.dependent, key, endorsement, transport)


def _transport(path: Path) -> TransportKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"transport key {path}: expected an RSA key, PEM") from error
    if not isinstance(private, RSAPrivateKey):
        raise ConfigurationError(f"transport key {path}: expected an RSA key, found {type(private).__name__}")
    return TransportKey(private)
