"""The bus half of a restore: offer each version to the generator until the log says that it is restored.

What the log says is the only proof; the generator's answers only say why a version is not. Whatever dies half-way, this
or the generator, the same file is given again: what the log has is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rekey_backup.bus import BackupBus
from rekey_backup.catalogue import lying
from rekey_backup.settings import BusSettings
from rekey_core.contracts import RestoreAnswer, RestoreOffer, Signed
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import open_signed, read_signed
from rekey_core.errors import MalformedError, ReplayedError, UnavailableError
from rekey_core.names import Service
from rekey_core.trust import Trust
from rekey_core.versions import Wrapped

AT_ONCE: Final = 16  # offers under way; each is a write with sync on two streams
TRIES: Final = 5  # of an offer that nobody answers, or that could not be decided
PAUSE_S: Final = 1.0  # between them: a generator that died is started again meanwhile


@dataclass(frozen=True)
class Returned:
    """How many versions came back now and before, and one line for each that did not."""

    now: int
    before: int
    problems: tuple[str, ...]


async def missing(bus: BackupBus, settings: BusSettings, made: Sequence[RestoreOffer]) -> list[str]:
    """The versions that would be given, by name. Raises as ``returned``."""
    lies, _ = await _lies(bus, settings)
    return [_name(offer) for offer in made if not _is_restored(lies, offer)]


async def returned(bus: BackupBus, settings: BusSettings, made: Sequence[RestoreOffer]) -> Returned:
    """Give every version that is not restored yet.

    Raises:
        UnavailableError, StaleReadError: the log cannot be read.
        TrustError: its trust documents do not chain to the genesis.
    """
    lies, trust = await _lies(bus, settings)
    wanted = [offer for offer in made if not _is_restored(lies, offer)]
    said: dict[str, str] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        lines = await asyncio.gather(*(_given(bus, trust, offer) for offer in some))
        said |= {_name(offer): line for offer, line in zip(some, lines, strict=True)}
    lies, _ = await _lies(bus, settings)
    left = [_name(offer) for offer in wanted if not _is_restored(lies, offer)]
    problems = tuple(f"{name}: {said[name] or 'the log does not say that it is restored'}" for name in left)
    return Returned(len(wanted) - len(left), len(made) - len(wanted), problems)


async def _lies(bus: BackupBus, settings: BusSettings) -> tuple[dict[str, Wrapped], Trust]:
    bundle = await bus.facts()
    trust = bundle.verified_trust(settings.trust_genesis, settings.env)
    return lying(bundle, trust), trust


def _is_restored(lies: dict[str, Wrapped], offer: RestoreOffer) -> bool:
    found = lies.get(_name(offer))
    wanted = (offer.epoch, sha256_hex(b64u_decode(offer.blob)))
    return found is not None and (found.epoch, found.blob_digest) == wanted


async def _given(bus: BackupBus, trust: Trust, offer: RestoreOffer) -> str:
    """Why the generator does not restore it; empty if it says that it does."""
    line = ""
    for left in reversed(range(TRIES)):
        try:
            answer = _opened(await bus.offer(offer), trust, offer)
        except (UnavailableError, MalformedError) as error:
            line = str(error)
        else:
            line = f"{answer.code}: {answer.message}" if answer.code else ""
            if not answer.retry:
                return line
        await asyncio.sleep(PAUSE_S if left else 0)
    return line


def _opened(data: bytes, trust: Trust, offer: RestoreOffer) -> RestoreAnswer:
    """The generator's answer to exactly this offer. Raises MalformedError leaves for anything else."""
    where = f"answer about {_name(offer)}"
    signed = read_signed(data, Signed, where=where)
    answer = open_signed(signed, (RestoreAnswer,), trust.service_keys(Service.GENERATOR), where=where)
    if (answer.env, answer.key, answer.version) != (offer.env, offer.key, offer.version):
        message = f"{where}: it is about {answer.key}@{answer.version}"
        raise ReplayedError(message)
    return answer


def _name(offer: RestoreOffer) -> str:
    return f"{offer.key}@{offer.version}"
