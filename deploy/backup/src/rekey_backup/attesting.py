"""The bus half of a drill's end: the officers' attestation given to audit until it says that it is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rekey_backup.bus import BackupBus
from rekey_backup.returning import PAUSE_S, TRIES
from rekey_backup.settings import BusSettings
from rekey_core.contracts import About, AttestationAnswer, AttestationOffer, OfficersSigned, Signed
from rekey_core.drilled import ATTESTATION, attestation_id
from rekey_core.envelope import open_signed, read_signed
from rekey_core.errors import MalformedError, ReplayedError, UnavailableError
from rekey_core.names import Service
from rekey_core.trust import Trust


@dataclass(frozen=True)
class Given:
    """What became of an attestation: why it is not on record, empty if it is; whether that is audit's last word."""

    problem: str = ""
    is_refused: bool = False


async def recorded(
    bus: BackupBus, settings: BusSettings, signed: OfficersSigned, about: About = ATTESTATION
) -> Given:
    """Give it to audit until that decides, or for as often as it may be tried.

    Raises:
        UnavailableError: the bus does not answer.
        TrustError: its trust documents do not chain to the genesis.
    """
    trust, given = await bus.trust(settings.trust_genesis), Given()
    offer = AttestationOffer(env=settings.env, about=about, signed=signed)
    for left in reversed(range(TRIES)):
        try:
            answer = opened(await bus.attest(offer), trust, offer)
        except (UnavailableError, MalformedError) as error:
            given = Given(str(error))
        else:
            given = became(answer)
            if not answer.retry:
                return given
        await asyncio.sleep(PAUSE_S if left else 0)
    return given


def became(answer: AttestationAnswer) -> Given:
    """What an answer comes to."""
    if answer.code is None:
        return Given()
    hint = f"; {answer.hint}" if answer.hint else ""
    return Given(f"{answer.code}: {answer.message}{hint}", is_refused=not answer.retry)


def opened(data: bytes, trust: Trust, offer: AttestationOffer) -> AttestationAnswer:
    """Audit's answer to exactly this offer. Raises MalformedError leaves for anything else."""
    where, wanted = "answer about an attestation", attestation_id(offer.signed)
    signed = read_signed(data, Signed, where=where)
    answer = open_signed(signed, (AttestationAnswer,), trust.service_keys(Service.AUDIT), where=where)
    if (answer.env, answer.attestation) != (offer.env, wanted):
        message = f"{where}: expected one about {wanted[:16]}, found {answer.attestation[:16]}"
        raise ReplayedError(message)
    return answer
