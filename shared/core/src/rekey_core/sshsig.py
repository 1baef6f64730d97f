"""SSHSIG (OpenSSH PROTOCOL.sshsig): what people sign with the SSH keys that they have, FIDO keys included.

A signature is good for one namespace, message and key. Verifying is stricter than the format asks for:
one spelling of what the armor holds, nothing reserved, no byte left over, no FIDO key without a touch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rekey_core.encoding import lp  # an SSH string (RFC 4251 §5) is a length-prefixed part
from rekey_core.errors import SignatureError

MAX_ARMORED_CHARACTERS: Final = 8192  # a FIDO signature takes about 400; more is nobody's signature

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_HASHES: Final = {b"sha256": "sha256", b"sha512": "sha512"}
_ED25519: Final = b"ssh-ed25519"
_SK_ED25519: Final = b"sk-ssh-ed25519@openssh.com"
_USER_PRESENT: Final = 0x01  # FIDO authenticator data flags (PROTOCOL.u2f)
_USER_VERIFIED: Final = 0x04
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_ARMOR: Final = re.compile(rf"{_BEGIN}\n((?:[A-Za-z0-9+/=]+\n)+){_END}\n?")
_LINE_CHARACTERS: Final = 70  # as ssh-keygen breaks them
_KEPT: Final = 256  # good signatures: each fact that follows from one command carries that command, some 2 kB


@dataclass(frozen=True)
class SshSignature:
    """What a good signature says beside being good: the FIDO flags and counter; None for a key in a file."""

    flags: int | None = None
    counter: int | None = None

    @property
    def is_user_verified(self) -> bool:
        """Whether a FIDO authenticator checked a PIN or fingerprint, not just a touch."""
        return self.flags is not None and bool(self.flags & _USER_VERIFIED)


@dataclass(frozen=True)
class _PublicKey:
    blob: bytes
    kind: bytes
    raw: bytes
    application: bytes | None  # of a FIDO key


def verify(armored: str, message: bytes, *, namespace: str, public_key: str) -> SshSignature:
    """Return what the signature says, if this key signed this message in this namespace.

    ``public_key`` is an ``authorized_keys`` entry of type ssh-ed25519 or sk-ssh-ed25519@openssh.com.

    Raises:
        SignatureError: it did not, or signature or key are not well formed.
    """
    return _verified(armored, message, namespace, public_key)


@lru_cache(maxsize=_KEPT)
def _verified(armored: str, message: bytes, namespace: str, public_key: str) -> SshSignature:
    key = _parse_public_key(public_key)
    blob = _Reader(_dearmor(armored))
    if blob.take(len(_MAGIC)) != _MAGIC or blob.uint32() != _VERSION:
        raise SignatureError(f"expected an SSHSIG of version {_VERSION}, found something else")
    if blob.string() != key.blob:
        raise SignatureError(f"expected a signature by {_fingerprint(key.blob)}, found one by another key")
    found_namespace, reserved, hash_name, signature = (blob.string() for _ in range(4))
    blob.end()
    if not namespace or found_namespace != namespace.encode():
        raise SignatureError(f"expected a signature in namespace {namespace!r}, found {found_namespace!r}")
    if reserved:
        raise SignatureError(f"expected nothing in the reserved field, found {len(reserved)} bytes")
    return _verify_raw(key, signature, _signed_data(namespace, hash_name, message))


def sign(private_openssh_pem: bytes, message: bytes, namespace: str) -> str:
    """An armored SSHSIG by an unencrypted ssh-ed25519 key file, as ``ssh-keygen -Y sign`` makes it (SHA-512).

    Raises:
        ValueError: another kind of key, an encrypted one, or an empty namespace.
    """
    private = _load_private(private_openssh_pem)
    if not namespace:
        raise ValueError("expected a namespace, found none")
    public = lp(_ED25519, private.public_key().public_bytes_raw())
    signature = lp(_ED25519, private.sign(_signed_data(namespace, b"sha512", message)))
    return _armor(_MAGIC + _VERSION.to_bytes(4, "big") + lp(public, namespace, b"", b"sha512", signature))


def public_key_of(private_openssh_pem: bytes) -> str:
    """The public half of an unencrypted ssh-ed25519 key file as ``ssh-ed25519 AAAA…``, without a comment.

    Raises:
        ValueError: another kind of key, or an encrypted one.
    """
    blob = lp(_ED25519, _load_private(private_openssh_pem).public_key().public_bytes_raw())
    return f"{_ED25519.decode()} {base64.b64encode(blob).decode()}"


def _load_private(pem: bytes) -> Ed25519PrivateKey:
    try:
        private = serialization.load_ssh_private_key(pem, password=None)
    except TypeError as error:  # what the library raises when a passphrase is needed
        raise ValueError("expected a key without a passphrase, found an encrypted one") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"expected an ssh-ed25519 private key, found {type(private).__name__}")  # noqa: TRY004
    return private


def _signed_data(namespace: str, hash_name: bytes, message: bytes) -> bytes:
    if hash_name not in _HASHES:
        raise SignatureError(f"expected a hash of sha256 or sha512, found {hash_name!r}")
    return _MAGIC + lp(namespace, b"", hash_name, hashlib.new(_HASHES[hash_name], message).digest())


def _verify_raw(key: _PublicKey, signature: bytes, data: bytes) -> SshSignature:
    reader = _Reader(signature)
    if (found := reader.string()) != key.kind:
        raise SignatureError(f"expected a signature of type {key.kind!r}, found {found!r}")
    raw = reader.string()
    if key.application is None:
        said = SshSignature()
    else:
        said = SshSignature(flags=reader.take(1)[0], counter=reader.uint32())
        data = _authenticator_data(key.application, said, data)
    reader.end()
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, data)
    except InvalidSignature as error:
        raise SignatureError(f"the signature by {_fingerprint(key.blob)} does not verify") from error
    return said


def _authenticator_data(application: bytes, said: SshSignature, data: bytes) -> bytes:
    """What a FIDO key signs (PROTOCOL.u2f): the application's hash, flags, counter, the data's hash."""
    if said.flags is None or said.counter is None or not said.flags & _USER_PRESENT:
        raise SignatureError(f"expected the user-present flag of a FIDO key, found flags {said.flags}")
    state = bytes([said.flags]) + said.counter.to_bytes(4, "big")
    return hashlib.sha256(application).digest() + state + hashlib.sha256(data).digest()


@lru_cache(maxsize=_KEPT)
def _parse_public_key(line: str) -> _PublicKey:
    kind, _, rest = line.partition(" ")
    blob = _base64(rest.partition(" ")[0])
    reader = _Reader(blob)
    found, raw = reader.string(), reader.string()
    application = reader.string() if found == _SK_ED25519 else None
    reader.end()
    if found not in (_ED25519, _SK_ED25519) or found != kind.encode() or len(raw) != 32:  # noqa: PLR2004 - RFC 8032
        raise SignatureError(
            f"expected an ssh-ed25519 or sk-ssh-ed25519@openssh.com public key, found {kind!r}"
        )
    return _PublicKey(blob, found, raw, application)


def _dearmor(armored: str) -> bytes:
    if len(armored) > MAX_ARMORED_CHARACTERS:
        raise SignatureError(f"expected at most {MAX_ARMORED_CHARACTERS} characters, found {len(armored)}")
    if (match := _ARMOR.fullmatch(armored)) is None:
        raise SignatureError("expected an armored SSH signature")
    return _base64(match[1].replace("\n", ""))


def _armor(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = (text[start : start + _LINE_CHARACTERS] for start in range(0, len(text), _LINE_CHARACTERS))
    return "\n".join((_BEGIN, *lines, _END, ""))


def _base64(text: str) -> bytes:
    """Strict: one spelling of the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError("expected base64") from error
    if base64.b64encode(data).decode() != text:
        raise SignatureError("expected canonical base64, found stray bits at the end")
    return data


def _fingerprint(blob: bytes) -> str:
    """As ``ssh-keygen -l`` shows it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b'=').decode()}"


class _Reader:
    """SSH wire types (RFC 4251 §5) out of bytes that somebody else made."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            left = len(self._data) - self._at
            raise SignatureError(f"expected {length} more bytes in the SSH structure, found {left}")
        self._at += length
        return self._data[self._at - length : self._at]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def end(self) -> None:
        if self._at != len(self._data):
            left = len(self._data) - self._at
            raise SignatureError(f"expected the end of the SSH structure, found {left} more bytes")
