"""The development CA: one certificate per identity, named by its SPIFFE URI. Its key lies here in clear."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rekey_local.layout import write_private

_LIFETIME: Final = dt.timedelta(days=825)
_BACKDATED: Final = dt.timedelta(hours=1)  # a clock that is a little behind still accepts the certificate


@dataclass(frozen=True)
class DevelopmentCa:
    """An issuer of certificates for one environment."""

    env: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def found(cls, directory: Path, env: str) -> DevelopmentCa:
        """The CA of the directory; made if it is not there."""
        crt, key = directory / "ca.crt", directory / "ca.key"
        if not crt.exists():
            made = _self_signed(env)
            write_private(key, _pem(made.key))
            write_private(
                crt, made.certificate.public_bytes(Encoding.PEM)
            )  # last: its presence says complete
        private = load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            message = f"{key}: expected an EC private key"
            raise TypeError(message)
        return cls(env, x509.load_pem_x509_certificate(crt.read_bytes()), private)

    def spiffe(self, path: str) -> str:
        """The URI of an identity: ``spiffe://rekey.<env>/<path>`` (SPIFFE ID standard §2)."""
        return f"spiffe://rekey.{self.env}/{path}"

    def issue_client(self, directory: Path, path: str) -> None:
        """Put ``tls.crt``, ``tls.key`` and ``ca.crt`` of the identity into its directory, once."""
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.spiffe(path))])
        self._issue(directory, path, names, ExtendedKeyUsageOID.CLIENT_AUTH)

    def renew_client(self, directory: Path, path: str) -> str:
        """Put a new pair in the place of the identity's; the certificate's SHA-256 in hex.

        Two files cannot be replaced at once: a crash leaves the new pair beside the old one, or half in its place, and
        the next call finishes that instead of making another.
        """
        if not (directory / _next("tls.crt")).exists():
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.spiffe(path))])
            key, certificate = self._made(path, names, ExtendedKeyUsageOID.CLIENT_AUTH)
            write_private(directory / _next("tls.key"), key)
            write_private(directory / _next("tls.crt"), certificate)  # last: its presence says complete
        _finish(directory)
        found = x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())
        return found.fingerprint(hashes.SHA256()).hex()

    def issue_server(self, directory: Path) -> None:
        """Put the bus server's certificate into its directory, once: localhost and 127.0.0.1."""
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback])
        self._issue(directory, "bus", names, ExtendedKeyUsageOID.SERVER_AUTH)

    def _issue(
        self,
        directory: Path,
        common_name: str,
        names: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
    ) -> None:
        _finish(directory)
        if (directory / "tls.crt").exists():
            return
        key, certificate = self._made(common_name, names, usage)
        write_private(directory / "ca.crt", self.certificate.public_bytes(Encoding.PEM))
        write_private(directory / "tls.key", key)
        write_private(directory / "tls.crt", certificate)

    def _made(
        self, common_name: str, names: x509.SubjectAlternativeName, usage: x509.ObjectIdentifier
    ) -> tuple[bytes, bytes]:
        """A new key and its certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(common_name, self.certificate.subject, key.public_key(), self.key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _pem(key), certificate.public_bytes(Encoding.PEM)


def _next(name: str) -> str:
    return f"{name}.next"


def _finish(directory: Path) -> None:
    """Put a complete new pair in place, key first; whoever reads between the two finds no pair and waits for it."""
    if not (directory / _next("tls.crt")).exists():
        return
    if (directory / _next("tls.key")).exists():
        (directory / _next("tls.key")).replace(directory / "tls.key")
    (directory / _next("tls.crt")).replace(directory / "tls.crt")


def _self_signed(env: str) -> DevelopmentCa:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"rekey {env} development CA")
    certificate = (
        _builder(f"rekey {env} development CA", name, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return DevelopmentCa(env, certificate, key)


def _builder(
    common_name: str,
    issuer: x509.Name,
    subject_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
