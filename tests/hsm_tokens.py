"""Two real tokens, founded by the real ceremony, for tests in one process.

A process loads its PKCS#11 module once, with one configuration: both tokens lie in one directory here. Tokens
in directories of their own are in tests/system/test_hsm_ceremony.py. Only one facade per token can be open at
a time, and none while the security officer or a raw session is logged in.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pkcs11
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rekey_ceremony import CeremonyPlan, CeremonyReport, TokenPlan, perform
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret
from rekey_hsm import DistributorHsm, GeneratorHsm, TokenSettings, kek_label, record_mac_label
from rekey_hsm.officer import enrol_transport_key

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
ENV: Final = "dev"
RECIPIENT: Final = "orders"
SECRET_KEK: Final = kek_label(ENV, Release.TRUSTED_RECIPIENT, Algorithm.AES_256_GCM, 1)
BULK_KEK: Final = kek_label(ENV, Release.TRANSPORT_KEY, Algorithm.AES_256_GCM, 1)
EC_KEK: Final = kek_label(ENV, Release.NEVER, Algorithm.EC_P256, 1)
AES_KEK: Final = kek_label(ENV, Release.NEVER, Algorithm.AES_256_GCM, 1)
HMAC_KEK: Final = kek_label(ENV, Release.NEVER, Algorithm.HMAC_SHA_256, 1)
RSA_KEK: Final = kek_label(ENV, Release.NEVER, Algorithm.RSA_3072, 1)
KEKS: Final = (SECRET_KEK, BULK_KEK, EC_KEK, AES_KEK, HMAC_KEK, RSA_KEK)  # as the ceremony makes them
MAC_KEY: Final = record_mac_label(ENV, 1)


@dataclass(frozen=True)
class Tokens:
    """A founded pair, and the dependent whose transport key is trusted in the distributor's token."""

    generator: TokenSettings
    distributor: TokenSettings
    distributor_so_pin: Secret
    transport: rsa.RSAPrivateKey

    @property
    def spki(self) -> bytes:
        return spki_of(self.transport)

    @property
    def spki_sha256(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()

    def open_released(self, wrapped: bytes) -> bytes:
        """What the dependent does with what it was given."""
        return self.transport.decrypt(wrapped, padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))  # noqa: S303


def spki_of(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def token_plan(directory: Path, label: str) -> TokenPlan:
    return TokenPlan(directory, label, Secret(f"user-{label}".encode()), Secret(f"officer-{label}".encode()))


def ceremony_plan(directory: Path, name: str, *, epoch: int = 1, env: str = ENV) -> CeremonyPlan:
    """Two tokens in one directory; ``name`` keeps them apart from the others in it."""
    generator, distributor = (token_plan(directory, f"{side}-{name}") for side in ("gen", "dist"))
    return CeremonyPlan(env, epoch, MODULE, generator, distributor)


def token_settings(plan: TokenPlan, serial: str) -> TokenSettings:
    return TokenSettings(MODULE, plan.label, serial, plan.user_pin)


def found(plan: CeremonyPlan) -> CeremonyReport:
    """Perform the ceremony, then let this process see the tokens: SoftHSM lists its directory when it starts.

    No facade may be open.
    """
    report = perform(plan)
    pkcs11.lib(str(MODULE)).reinitialize()
    return report


@pytest.fixture(scope="session")
def hsm_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of every token that this process itself opens; SOFTHSM2_CONF points to it."""
    directory = tmp_path_factory.mktemp("hsm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
        yield directory


@pytest.fixture(scope="session")
def tokens(hsm_directory: Path) -> Tokens:
    """A founded pair of tokens with one enrolled dependent, shared by all tests of the process."""
    plan = replace(ceremony_plan(hsm_directory, "shared"), backup=token_plan(hsm_directory, "backup-shared"))
    report = found(plan)
    transport = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    enrol_transport_key(
        module=MODULE,
        token_label=plan.distributor.label,
        serial=report.distributor.serial,
        so_pin=plan.distributor.so_pin,
        dependent=RECIPIENT,
        spki_der=spki_of(transport),
    )
    return Tokens(
        token_settings(plan.generator, report.generator.serial),
        token_settings(plan.distributor, report.distributor.serial),
        plan.distributor.so_pin,
        transport,
    )


@pytest_asyncio.fixture
async def generator_hsm(tokens: Tokens) -> AsyncIterator[GeneratorHsm]:
    """The generator's facade, open for one test."""
    hsm = await GeneratorHsm.open(tokens.generator)
    yield hsm
    await hsm.close()


@pytest_asyncio.fixture
async def distributor_hsm(tokens: Tokens) -> AsyncIterator[DistributorHsm]:
    """The distributor's facade, open for one test."""
    hsm = await DistributorHsm.open(tokens.distributor)
    yield hsm
    await hsm.close()
