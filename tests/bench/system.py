"""Real parts for benchmarks: both tokens of an environment, and raw PKCS#11 beside our own code on the same token."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from rekey_core.authority import Identity
from rekey_core.names import Algorithm, Release, Service
from rekey_core.secret import Secret
from rekey_hsm import TokenSettings, backup_label, kek_label, record_mac_label
from rekey_hsm.attributes import TemplateMapper
from rekey_hsm.kinds import kind_of
from tests.bench.log import Log
from tests.hsm_tokens import MODULE, ceremony_plan, found, token_plan, token_settings
from tests.system.bus import RunningBus
from tests.system.certificates import ENV

EPOCH: Final = 1
KEK: Final = kek_label(ENV, Release.TRUSTED_RECIPIENT, Algorithm.AES_256_GCM, EPOCH)
BACKUP_KEK: Final = backup_label(ENV, Release.TRUSTED_RECIPIENT, Algorithm.AES_256_GCM, EPOCH)
RECORD_MAC: Final = record_mac_label(ENV, EPOCH)
SECRET_BITS: Final = 512
RECORD: Final = bytes(256)  # some bytes as long as what a record's MAC covers


@dataclass(frozen=True)
class Tokens:
    """The two halves, founded by the ceremony in one directory, so that one process sees both."""

    generator: TokenSettings
    distributor: TokenSettings
    distributor_so_pin: Secret


def found_tokens(place: Path) -> Tokens:
    """Found both, and the offline one; this process and those that it starts find them from now on."""
    directory = place / "tokens"
    directory.mkdir()
    os.environ["SOFTHSM2_CONF"] = str(directory / "softhsm2.conf")
    plan = replace(ceremony_plan(directory, "bench", env=ENV), backup=token_plan(directory, "backup-bench"))
    report = found(plan)
    return Tokens(
        token_settings(plan.generator, report.generator.serial),
        token_settings(plan.distributor, report.distributor.serial),
        plan.distributor.so_pin,
    )


class RawHsm:
    """Generate, wrap and MAC on the generator's token, bare. Runs on the HSM thread of a process that is logged in."""

    def __init__(self, settings: TokenSettings) -> None:
        token = pkcs11.lib(str(MODULE)).get_token(token_label=settings.label)
        self._mapper = TemplateMapper()  # kept: the module reads its buffers
        self._session = token.open(attribute_mapper=self._mapper)
        self._kek, self._backup_kek = self._key(KEK), self._key(BACKUP_KEK)
        self._mac = self._key(RECORD_MAC)
        kind = kind_of(KEK)
        assert kind is not None
        self._template = dict(kind.new)

    def generate_and_wrap(self) -> bytes:
        """A secret of the template that ours has too, wrapped twice as ours is."""
        key = self._session.generate_key(
            KeyType.GENERIC_SECRET, SECRET_BITS, capabilities=pkcs11.MechanismFlag(0), template=self._template
        )
        blob: bytes = self._kek.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        self._backup_kek.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        key.destroy()
        return blob

    def mac(self) -> bytes:
        """The MAC of a record."""
        value: bytes = self._mac.sign(RECORD, mechanism=Mechanism.SHA256_HMAC)
        return value

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _key(self, label: str) -> Any:
        found = self._session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label})
        (key,) = found
        return key


@contextlib.asynccontextmanager
async def filling(bus: RunningBus) -> AsyncIterator[Log]:
    """A writer of facts in bulk; nobody else writes while it is open."""
    authors = (Service.ROTATION_SCHEDULER, Service.GENERATOR)
    clients = {author: await bus.connect(Identity(author.value)) for author in authors}
    try:
        log = Log(bus, clients)
        await log.begin()
        yield log
        await log.flush()
    finally:
        for client in clients.values():
            await client.close()
