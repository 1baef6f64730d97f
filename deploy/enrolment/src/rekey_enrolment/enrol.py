"""Enrol a dependent: first the token trusts its transport key, then the trust document names it.

The order matters: a dependent that the document names must be able to receive. Each step done twice is no
change, so after a crash the same command is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rekey_core.contracts import OfficerSignature, SignedTrust
from rekey_core.encoding import b64u_encode
from rekey_core.secret import Secret
from rekey_core.trust import Trust
from rekey_enrolment.bus import TrustBus
from rekey_enrolment.proposal import Applicant, check_proposal, is_enrolled
from rekey_enrolment.service_keys import KeyChange, check_keys_proposal, is_done
from rekey_enrolment.settings import EnrolmentSettings
from rekey_hsm.officer import enrol_transport_key


@dataclass(frozen=True)
class Outcome:
    """What was there and what was done. ``n``: the trust document that names the dependent."""

    dependent: str
    n: int
    transport_key: str  # SHA-256 of the SPKI
    token_changed: bool
    document_changed: bool


@dataclass(frozen=True)
class KeysOutcome:
    """``n``: the trust document that says so."""

    n: int
    document_changed: bool


class Enrolment:
    """The acting identity: a bus for trust documents and a token on which it is the security officer."""

    def __init__(self, settings: EnrolmentSettings, bus: TrustBus) -> None:
        self._settings = settings
        self._bus = bus

    async def plan(self, applicant: Applicant) -> tuple[Trust, bool]:
        """The present trust and whether it names the applicant already. Changes nothing."""
        trust = await self._bus.trust()
        return trust, is_enrolled(trust, applicant)

    async def enrol(
        self, applicant: Applicant, proposal: bytes | None, signatures: Sequence[OfficerSignature]
    ) -> Outcome:
        """Make the token trust the transport key, then store the signed document.

        Raises:
            AlreadyExistsError: another dependent has the name.
            TrustError: the proposal is not the present document and this dependent, or the quorum is missing.
            HsmError: the token is not the one that was founded, or has another key under the name.
        """
        trust, enrolled = await self.plan(applicant)
        signed = None if enrolled else _signed(trust, applicant, proposal, signatures)
        token_changed = self._trust_transport_key(applicant)
        if signed is not None:
            await self._bus.append(trust.n + 1, signed)
        return Outcome(
            dependent=applicant.name,
            n=trust.n + (0 if enrolled else 1),
            transport_key=applicant.entry.transport_key,
            token_changed=token_changed,
            document_changed=not enrolled,
        )

    async def plan_keys(self, change: KeyChange) -> tuple[Trust, bool]:
        """The present trust and whether it says so already. Changes nothing."""
        trust = await self._bus.trust()
        return trust, is_done(trust, change)

    async def change_keys(
        self, change: KeyChange, proposal: bytes | None, signatures: Sequence[OfficerSignature]
    ) -> KeysOutcome:
        """Store the signed document in which signing keys of services come or go.

        Raises:
            TrustError: the proposal is not the present document and this change, or the quorum is missing.
            AlreadyExistsError, StateRefusedError: as ``propose_keys``.
        """
        trust, done = await self.plan_keys(change)
        if not done:
            payload = proposal or b""
            check_keys_proposal(payload, trust, change)
            signed = SignedTrust(payload=b64u_encode(payload), signatures=tuple(signatures))
            trust.extended(signed)  # the quorum of the present document must have signed
            await self._bus.append(trust.n + 1, signed)
        return KeysOutcome(n=trust.n + (0 if done else 1), document_changed=not done)

    def _trust_transport_key(self, applicant: Applicant) -> bool:
        settings = self._settings
        return enrol_transport_key(
            module=settings.hsm_module,
            token_label=settings.token_label,
            serial=settings.token_serial,
            so_pin=Secret(settings.so_pin_file.read_bytes().strip()),
            dependent=applicant.name,
            spki_der=applicant.transport_spki,
        ).changed


def _signed(
    trust: Trust, applicant: Applicant, proposal: bytes | None, signatures: Sequence[OfficerSignature]
) -> SignedTrust:
    payload = proposal or b""
    check_proposal(payload, trust, applicant)
    signed = SignedTrust(payload=b64u_encode(payload), signatures=tuple(signatures))
    trust.extended(signed)  # the quorum of the present document must have signed before anything is changed
    return signed
