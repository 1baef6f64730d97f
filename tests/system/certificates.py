"""A certificate authority for tests: one certificate per identity, named by its SPIFFE URI as in life."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rekey_core.authority import Identity
from rekey_provision import spiffe_id

ENV = "dev"
_NOW = dt.datetime.now(dt.UTC)
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """Files of one identity."""

    cert: Path
    key: Path
    ca: Path

    def context(self) -> ssl.SSLContext:
        """Mutual TLS 1.3 as this identity."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    """A certificate authority that lives as long as the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rekey test CA")])
        builder = self._builder(self._name, self._key.public_key())
        self._cert = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, valid_for: dt.timedelta = _DAY
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - dt.timedelta(minutes=5))
            .not_valid_after(_NOW + valid_for)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def issue(
        self, file: str, names: Sequence[x509.GeneralName], valid_for: dt.timedelta = _DAY
    ) -> Certificate:
        """A certificate for client and server use with these subject alternative names."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        cert = (
            self._builder(x509.Name([]), key.public_key(), valid_for)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = Certificate(self._directory / f"{file}.crt", self._directory / f"{file}.key", self.ca)
        files.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(pem(key))
        return files

    def server(self) -> Certificate:
        """For nats-server on this machine."""
        return self.issue(
            "server", [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )

    def identity(
        self, identity: Identity, name: str = "", *, env: str = ENV, valid_for: dt.timedelta = _DAY
    ) -> Certificate:
        """For one identity, named by its SPIFFE URI."""
        uri = x509.UniformResourceIdentifier(spiffe_id(env, identity, name))
        return self.issue(f"{identity}-{name}-{env}-{valid_for.total_seconds():.0f}", [uri], valid_for)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: a throw-away key."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
