"""Everything that a signature must not survive. In both directions with ssh-keygen: test_sshsig_keygen.py."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rekey_core.encoding import lp
from rekey_core.errors import SignatureError
from rekey_core.sshsig import MAX_ARMORED_CHARACTERS, SshSignature, public_key_of, sign, verify

NAMESPACE = "rekey-cmd@v1"
MESSAGE = b'{"verb":"suspend"}'
SK = b"sk-ssh-ed25519@openssh.com"


def _openssh(private: Ed25519PrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)


PRIVATE = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a person").digest())
PEM = _openssh(PRIVATE)
PUBLIC = public_key_of(PEM)
OTHER_PUBLIC = public_key_of(_openssh(Ed25519PrivateKey.generate()))


@dataclass(frozen=True)
class Parts:
    """A signature in pieces, to be put together wrongly. ``sk`` makes it one of a software authenticator."""

    magic: bytes = b"SSHSIG"
    version: int = 1
    namespace: bytes = NAMESPACE.encode()
    reserved: bytes = b""
    digest: bytes = b"sha512"
    message: bytes = MESSAGE
    sk: bool = False
    application: bytes = b"ssh:"
    signed_application: bytes = b"ssh:"
    kind: bytes | None = None
    flags: int = 0x01
    signed_flags: int | None = None
    counter: int = 7
    signed_counter: int | None = None
    inner_tail: bytes = b""
    tail: bytes = b""
    public: bytes | None = None

    def public_blob(self) -> bytes:
        if self.public is not None:
            return self.public
        raw = PRIVATE.public_key().public_bytes_raw()
        return lp(SK, raw, self.application) if self.sk else lp(b"ssh-ed25519", raw)

    def public_key(self) -> str:
        return (
            f"{(SK if self.sk else b'ssh-ed25519').decode()} {base64.b64encode(self.public_blob()).decode()}"
        )

    def blob(self) -> bytes:
        fields = lp(self.public_blob(), self.namespace, self.reserved, self.digest, self._signature())
        return self.magic + self.version.to_bytes(4, "big") + fields + self.tail

    def armored(self) -> str:
        return _armor(base64.b64encode(self.blob()).decode())

    def _signature(self) -> bytes:
        known = self.digest if self.digest in (b"sha256", b"sha512") else b"sha1"
        data = b"SSHSIG" + lp(
            self.namespace, b"", self.digest, hashlib.new(known.decode(), self.message).digest()
        )
        kind = self.kind or (SK if self.sk else b"ssh-ed25519")
        if not self.sk:
            return lp(kind, PRIVATE.sign(data)) + self.inner_tail
        flags = self.flags if self.signed_flags is None else self.signed_flags
        counter = self.counter if self.signed_counter is None else self.signed_counter
        state = bytes([flags]) + counter.to_bytes(4, "big")
        hashed = hashlib.sha256(self.signed_application).digest() + state + hashlib.sha256(data).digest()
        said = bytes([self.flags]) + self.counter.to_bytes(4, "big")
        return lp(kind, PRIVATE.sign(hashed)) + said + self.inner_tail


def _armor(text: str) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{text}\n-----END SSH SIGNATURE-----\n"


def _verify(parts: Parts) -> SshSignature:
    return verify(parts.armored(), MESSAGE, namespace=NAMESPACE, public_key=parts.public_key())


GOOD, GOOD_SK = Parts(), Parts(sk=True)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param(GOOD, SshSignature(), id="a key in a file"),
        pytest.param(Parts(digest=b"sha256"), SshSignature(), id="SHA-256"),
        pytest.param(GOOD_SK, SshSignature(flags=1, counter=7), id="a FIDO key that was touched"),
        pytest.param(Parts(sk=True, flags=5), SshSignature(flags=5, counter=7), id="a FIDO key with a PIN"),
        pytest.param(
            Parts(sk=True, counter=2**32 - 1),
            SshSignature(flags=1, counter=2**32 - 1),
            id="the highest counter",
        ),
        pytest.param(
            Parts(sk=True, application=b"ssh:rekey", signed_application=b"ssh:rekey"),
            SshSignature(flags=1, counter=7),
            id="a FIDO key for another application",
        ),
    ],
)
def test_a_good_signature_says(parts: Parts, said: SshSignature) -> None:
    assert _verify(parts) == said


def test_that_one_verified_says_nothing_of_any_other() -> None:
    good, other = GOOD.armored(), Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    stranger = f"ssh-ed25519 {base64.b64encode(lp(b'ssh-ed25519', other)).decode()}"
    for _ in range(2):
        assert verify(good, MESSAGE, namespace=NAMESPACE, public_key=GOOD.public_key()) == SshSignature()
        for message, namespace, key in (
            (MESSAGE + b"\0", NAMESPACE, GOOD.public_key()),
            (MESSAGE, NAMESPACE + "x", GOOD.public_key()),
            (MESSAGE, NAMESPACE, stranger),
        ):
            with pytest.raises(SignatureError):
                verify(good, message, namespace=namespace, public_key=key)


def test_only_a_pin_or_fingerprint_verifies_the_user() -> None:
    flags = {None: False, 1: False, 4: True, 5: True}
    assert {f: SshSignature(flags=f).is_user_verified for f in flags} == flags


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        pytest.param(replace(GOOD, message=b"other"), "does not verify", id="another message"),
        pytest.param(replace(GOOD, namespace=b"file"), "in namespace", id="another namespace"),
        pytest.param(replace(GOOD, namespace=b""), "in namespace", id="no namespace"),
        pytest.param(replace(GOOD, magic=b"SSHSIX"), "version 1", id="another format"),
        pytest.param(replace(GOOD, version=2), "version 1", id="a later version of the format"),
        pytest.param(replace(GOOD, version=0), "version 1", id="an earlier version of the format"),
        pytest.param(replace(GOOD, reserved=b"x"), "reserved", id="something in the reserved field"),
        pytest.param(replace(GOOD, digest=b"sha1"), "sha256 or sha512, found b'sha1'", id="SHA-1"),
        pytest.param(replace(GOOD, digest=b""), "sha256 or sha512", id="no hash"),
        pytest.param(replace(GOOD, digest=b"SHA512"), "sha256 or sha512", id="a hash in capitals"),
        pytest.param(replace(GOOD, tail=b"\0"), "1 more bytes", id="a byte after the signature"),
        pytest.param(
            replace(GOOD, inner_tail=b"\0"), "1 more bytes", id="a byte inside, after the signature"
        ),
        pytest.param(replace(GOOD, kind=b"ssh-rsa"), "of type", id="a signature of another type"),
        pytest.param(replace(GOOD, kind=SK), "of type", id="a file key that says it is a FIDO key"),
        pytest.param(
            replace(GOOD_SK, kind=b"ssh-ed25519"), "of type", id="a FIDO key that says it is a file key"
        ),
        pytest.param(replace(GOOD_SK, flags=0), "user-present", id="a FIDO key without a touch"),
        pytest.param(replace(GOOD_SK, flags=4), "user-present", id="a FIDO key with a PIN, without a touch"),
        pytest.param(replace(GOOD_SK, signed_flags=0), "does not verify", id="a touch that was not signed"),
        pytest.param(
            replace(GOOD_SK, signed_counter=6), "does not verify", id="a counter that was not signed"
        ),
        pytest.param(
            replace(GOOD_SK, signed_application=b"ssh:x"), "does not verify", id="another application"
        ),
        pytest.param(replace(GOOD_SK, message=b"other"), "does not verify", id="another message, FIDO"),
        pytest.param(replace(GOOD_SK, inner_tail=b"\0"), "1 more bytes", id="a byte after the counter"),
    ],
)
def test_a_signature_is_refused_with(parts: Parts, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        _verify(parts)


@pytest.mark.parametrize("parts", [GOOD, GOOD_SK], ids=["file key", "FIDO key"])
def test_a_signature_cut_off_anywhere_is_refused(parts: Parts) -> None:
    blob = parts.blob()
    for length in range(len(blob)):
        armored = _armor(base64.b64encode(blob[:length]).decode() or "=")
        with pytest.raises(SignatureError):
            verify(armored, MESSAGE, namespace=NAMESPACE, public_key=parts.public_key())


@pytest.mark.parametrize("parts", [GOOD, GOOD_SK], ids=["file key", "FIDO key"])
def test_a_flipped_bit_anywhere_is_refused(parts: Parts) -> None:
    blob = parts.blob()
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1 << at % 8]) + blob[at + 1 :]
        with pytest.raises(SignatureError):
            verify(
                _armor(base64.b64encode(changed).decode()),
                MESSAGE,
                namespace=NAMESPACE,
                public_key=parts.public_key(),
            )


def test_a_field_that_claims_4_gigabytes_is_refused() -> None:
    blob = b"SSHSIG\x00\x00\x00\x01\xff\xff\xff\xff"
    with pytest.raises(SignatureError, match="expected 4294967295 more bytes"):
        verify(_armor(base64.b64encode(blob).decode()), MESSAGE, namespace=NAMESPACE, public_key=PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text[:0], id="nothing"),
        pytest.param(lambda text: "\n" + text, id="a line before it"),
        pytest.param(lambda text: text + "\n", id="a line after it"),
        pytest.param(lambda text: text + text, id="two signatures"),
        pytest.param(lambda text: text.replace("BEGIN SSH", "BEGIN PGP"), id="another kind of signature"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="other line ends"),
        pytest.param(lambda text: text.replace("U1NI", "U1N!"), id="a character outside base64"),
        pytest.param(lambda text: text.replace("U1NI", "U1 NI"), id="a space inside"),
        pytest.param(lambda text: text.replace("U1NI", "U1=NI"), id="padding inside"),
        pytest.param(lambda text: text.replace("\n-----END", "\n\n-----END"), id="an empty line"),
        pytest.param(lambda text: text.replace("\n-----END", "====\n-----END"), id="too much padding"),
        pytest.param(lambda text: text.rpartition("-----END")[0], id="no footer"),
        pytest.param(lambda text: text.replace("U1NI", "U1NI\n" * MAX_ARMORED_CHARACTERS), id="too long"),
    ],
)
def test_another_armor_is_refused(change: Callable[[str], str]) -> None:
    armored = sign(PEM, MESSAGE, NAMESPACE)
    with pytest.raises(SignatureError, match="expected"):
        verify(change(armored), MESSAGE, namespace=NAMESPACE, public_key=PUBLIC)


def test_stray_bits_at_the_end_of_the_armor_are_refused() -> None:
    parts = replace(GOOD, namespace=NAMESPACE.encode())
    text = base64.b64encode(parts.blob()).decode()
    assert text.endswith("="), "the table needs a signature with padding"
    body = text.rstrip("=")
    stray = body[:-1] + chr(ord(body[-1]) + 1) + "=" * (len(text) - len(body))
    assert base64.b64decode(stray) == parts.blob()
    with pytest.raises(SignatureError, match="stray bits"):
        verify(_armor(stray), MESSAGE, namespace=NAMESPACE, public_key=PUBLIC)


RAW = PRIVATE.public_key().public_bytes_raw()


def _entry(kind: str, blob: bytes) -> str:
    return f"{kind} {base64.b64encode(blob).decode()}"


@pytest.mark.parametrize(
    "public_key",
    [
        pytest.param(OTHER_PUBLIC, id="another key"),
        pytest.param("", id="nothing"),
        pytest.param("ssh-ed25519", id="a type alone"),
        pytest.param("ssh-ed25519 !!!!", id="not base64"),
        pytest.param(PUBLIC.replace("ssh-ed25519", "ssh-rsa"), id="a type that is not in the blob"),
        pytest.param(_entry("ssh-rsa", lp(b"ssh-rsa", RAW)), id="a type that we do not take"),
        pytest.param(_entry("ssh-ed25519", lp(b"ssh-ed25519", RAW) + b"\0"), id="a byte after the key"),
        pytest.param(_entry("ssh-ed25519", lp(b"ssh-ed25519", RAW[:31])), id="a key of 31 bytes"),
        pytest.param(_entry("ssh-ed25519", lp(b"ssh-ed25519")), id="no key"),
        pytest.param(_entry(SK.decode(), lp(SK, RAW)), id="a FIDO key without an application"),
        pytest.param(GOOD_SK.public_key(), id="the same key as a FIDO key"),
        pytest.param(f"restrict {PUBLIC}", id="options before the key"),
    ],
)
def test_a_signature_is_refused_for(public_key: str) -> None:
    with pytest.raises(SignatureError):
        verify(GOOD.armored(), MESSAGE, namespace=NAMESPACE, public_key=public_key)


@pytest.mark.parametrize(
    "public",
    [
        pytest.param(lp(b"ssh-ed25519", RAW) + b"\0", id="a byte after the key"),
        pytest.param(lp(b"ssh-ed25519", RAW[:31]), id="a key of 31 bytes"),
        pytest.param(lp(b"ssh-ed25519-cert-v01@openssh.com", RAW), id="a certificate"),
    ],
)
def test_a_key_that_is_not_well_formed_is_refused_even_where_both_sides_agree(public: bytes) -> None:
    kind = public[4:].partition(b"\0")[0].decode()
    parts = replace(GOOD, public=public, kind=kind.encode())
    with pytest.raises(SignatureError):
        verify(parts.armored(), MESSAGE, namespace=NAMESPACE, public_key=_entry(kind, public))


def test_a_signature_that_is_too_long_is_refused_even_if_good() -> None:
    namespace = "n" * MAX_ARMORED_CHARACTERS
    with pytest.raises(SignatureError, match=f"at most {MAX_ARMORED_CHARACTERS} characters"):
        verify(sign(PEM, MESSAGE, namespace), MESSAGE, namespace=namespace, public_key=PUBLIC)


def test_a_comment_after_the_key_does_not_matter() -> None:
    assert (
        verify(GOOD.armored(), MESSAGE, namespace=NAMESPACE, public_key=f"{PUBLIC} a person")
        == SshSignature()
    )


def test_an_empty_namespace_is_never_good() -> None:
    with pytest.raises(SignatureError, match="namespace"):
        verify(replace(GOOD, namespace=b"").armored(), MESSAGE, namespace="", public_key=PUBLIC)
    with pytest.raises(ValueError, match="namespace"):
        sign(PEM, MESSAGE, "")
