"""The identities' own keys: signing keys, transport keys, people's SSH keys, PINs. Each is made once."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from rekey_local.layout import private_directory, write_private

TRANSPORT_KEY_BITS: Final = 3072  # 128-bit strength, SP 800-57 part 1 rev 5 table 2
_RSA_EXPONENT: Final = 65537
_PIN_BYTES: Final = 16
_SSH_KEYGEN_S: Final = 30
NEXT: Final = ".next"  # behind a file's name: what will take its place (the services look for it)


def found_signing_key(directory: Path) -> bytes:
    """Raw Ed25519 public key of ``signing.key``, which is made if absent; ``signing.pub`` is its PEM."""
    file = directory / "signing.key"
    if not file.exists():
        made = ed25519.Ed25519PrivateKey.generate()
        write_private(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = load_pem_private_key(file.read_bytes(), None)
    public = key.public_key()
    if not isinstance(public, ed25519.Ed25519PublicKey):
        message = f"{file}: expected an Ed25519 private key"
        raise TypeError(message)
    write_private(
        directory / "signing.pub", public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public.public_bytes_raw()


def next_signing_key(directory: Path) -> bytes:
    """Raw public key of ``signing.key.next``, which is made if absent: the service's key to come."""
    file = directory / f"signing.key{NEXT}"
    if not file.exists():
        made = ed25519.Ed25519PrivateKey.generate()
        write_private(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = load_pem_private_key(file.read_bytes(), None).public_key()
    if not isinstance(public, ed25519.Ed25519PublicKey):
        message = f"{file}: expected an Ed25519 private key"
        raise TypeError(message)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_private(directory / f"signing.pub{NEXT}", pem)
    return public.public_bytes_raw()


def is_between_signing_keys(directory: Path) -> bool:
    """Whether a key to come lies beside the present one."""
    return (directory / f"signing.key{NEXT}").exists()


def take_over_signing_key(directory: Path) -> None:
    """The key to come is the present one from now on; done twice it changes nothing."""
    if is_between_signing_keys(directory):
        (directory / f"signing.key{NEXT}").replace(directory / "signing.key")
    found_signing_key(directory)
    (directory / f"signing.pub{NEXT}").unlink(missing_ok=True)


def found_transport_key(directory: Path) -> None:
    """``transport.key`` (RSA) and its DER SubjectPublicKeyInfo ``transport.spki``."""
    file = directory / "transport.spki"
    if file.exists():
        return
    key = rsa.generate_private_key(_RSA_EXPONENT, TRANSPORT_KEY_BITS)
    write_private(
        directory / "transport.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    write_private(file, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def found_ssh_key(directory: Path, name: str) -> str:
    """The person's public key as the trust document has it (``ssh-ed25519 AAAA…``); made by ssh-keygen.

    Raises:
        subprocess.CalledProcessError: ssh-keygen failed; its message is in ``stderr``.
    """
    file = private_directory(directory) / "id_ed25519"
    public = file.with_suffix(".pub")
    if not public.exists():
        file.unlink(missing_ok=True)  # half made: ssh-keygen would ask before it overwrites
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SSH_KEYGEN_S)
        public.chmod(file.stat().st_mode)
    kind, key, *_ = public.read_text().split()
    return f"{kind} {key}"


def found_pin(file: Path) -> bytes:
    """The random PIN in the file."""
    if not file.exists():
        write_private(file, secrets.token_hex(_PIN_BYTES))
    return file.read_bytes()
