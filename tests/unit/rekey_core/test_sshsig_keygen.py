"""SSHSIG in both directions against the real ssh-keygen, and key files that cannot sign."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from rekey_core.sshsig import SshSignature, public_key_of, sign, verify

NAMESPACE = "rekey-cmd@v1"
MESSAGE = b'{"verb":"suspend"}'


def _keygen(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=stdin, capture_output=True, check=False)


_P256 = generate_private_key(SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "id_ed25519"
    assert _keygen("-q", "-t", "ed25519", "-N", "", "-C", "a person", "-f", file).returncode == 0
    return file


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("message", [b"", b"x", bytes(range(256)) * 300], ids=["empty", "short", "77 kB"])
def test_a_signature_by_ssh_keygen_verifies(key_file: Path, message: bytes, digest: str) -> None:
    options: list[str | Path] = [
        "-Y",
        "sign",
        "-q",
        "-f",
        key_file,
        "-n",
        NAMESPACE,
        "-O",
        f"hashalg={digest}",
    ]
    signed = _keygen(*options, stdin=message)
    public = key_file.with_suffix(".pub").read_text()
    assert (
        verify(signed.stdout.decode(), message, namespace=NAMESPACE, public_key=public.strip())
        == SshSignature()
    )


@pytest.mark.parametrize("message", [b"", b"x", bytes(range(256)) * 300], ids=["empty", "short", "77 kB"])
def test_ssh_keygen_verifies_our_signature(key_file: Path, tmp_path: Path, message: bytes) -> None:
    signature, signers = tmp_path / "signature", tmp_path / "allowed_signers"
    signature.write_text(sign(key_file.read_bytes(), message, NAMESPACE))
    signers.write_text(f'alice namespaces="{NAMESPACE}" {key_file.with_suffix(".pub").read_text()}')
    options: list[str | Path] = [
        "-Y",
        "verify",
        "-f",
        signers,
        "-I",
        "alice",
        "-n",
        NAMESPACE,
        "-s",
        signature,
    ]
    assert _keygen(*options, stdin=message).returncode == 0
    assert _keygen(*options, stdin=message + b"!").returncode != 0


def test_both_write_the_same_bytes(key_file: Path) -> None:
    theirs = _keygen("-Y", "sign", "-q", "-f", key_file, "-n", NAMESPACE, stdin=MESSAGE).stdout.decode()
    assert sign(key_file.read_bytes(), MESSAGE, NAMESPACE) == theirs


def test_the_public_half_is_the_one_of_ssh_keygen(key_file: Path) -> None:
    theirs = key_file.with_suffix(".pub").read_text().split()
    assert public_key_of(key_file.read_bytes()).split() == theirs[:2]


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(_P256, id="a key of another type"),
    ],
)
def test_what_cannot_sign_is_a_misuse(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        sign(pem, MESSAGE, NAMESPACE)


def test_a_key_with_a_passphrase_is_a_misuse(tmp_path: Path) -> None:
    file = tmp_path / "id_ed25519"
    assert _keygen("-q", "-t", "ed25519", "-N", "a passphrase", "-f", file).returncode == 0
    with pytest.raises(ValueError, match="found an encrypted one"):
        sign(file.read_bytes(), MESSAGE, NAMESPACE)
