"""The story's dependents are enrolled by the real program; only the officers are played by us."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rekey_ceremony.softhsm import CONFIGURATION
from rekey_core.contracts import SignedTrust
from rekey_core.encoding import b64u_decode
from rekey_core.names import Service
from rekey_core.trust import Trust
from rekey_enrolment import Applicant, load_settings, propose
from rekey_enrolment.bus import trust_bus
from rekey_enrolment.proposal import is_enrolled
from rekey_local.enrolment import enrolment
from rekey_local.environments import Environments
from rekey_local.layout import Layout, write_private
from rekey_local.plan import DEPENDENTS, Plan
from rekey_local.settings import SETTINGS_FILE
from rekey_local.trust import genesis_hash, sign_as_officers

_DONE: Final = "enrolled"  # a mark in the dependent's directory: written when the bus has the document


async def enrol_dependents(
    layout: Layout, plan: Plan, environments: Environments, genesis: SignedTrust, softhsm_conf: Path
) -> None:
    """Enrol each dependent that is not yet, one after the other: each document stands on the one before.

    Raises:
        NotReadyError: the enrolment program failed; carries its words.
    """
    if all((layout.dependent(name) / _DONE).exists() for name in DEPENDENTS):
        return
    trust = Trust.from_chain((genesis,), genesis=genesis_hash(genesis), env=plan.env)
    for name in DEPENDENTS:
        applicant = _applicant(layout, name, DEPENDENTS[name])
        signed = _signed_once(layout, trust, applicant)
        await _run(layout, environments, softhsm_conf, applicant)
        write_private(layout.dependent(name) / _DONE, "")
        trust = trust.extended(signed)


async def enrol_newcomer(layout: Layout, environments: Environments, name: str, owner: str) -> None:
    """Enrol one more dependent, on top of whatever trust document is in force now; again is no change.

    Raises:
        NotReadyError: the enrolment program failed; carries its words.
        RekeyError: the bus does not answer, or the dependent is enrolled with other keys or another owner.
    """
    applicant = _applicant(layout, name, owner)
    async with trust_bus(load_settings(layout.enrolment / SETTINGS_FILE)) as bus:
        trust = await bus.trust()
    if not is_enrolled(trust, applicant):
        _sign(layout, trust, applicant)
    await _run(layout, environments, layout.token(Service.DISTRIBUTOR) / CONFIGURATION, applicant)


def _applicant(layout: Layout, name: str, owner: str) -> Applicant:
    directory = layout.dependent(name)
    key = load_pem_public_key((directory / "signing.pub").read_bytes())
    if not isinstance(key, ed25519.Ed25519PublicKey):
        message = f"{directory}: expected an Ed25519 public key"
        raise TypeError(message)
    spki = (directory / "transport.spki").read_bytes()
    return Applicant(name, owner, key.public_bytes_raw(), spki)


def _signed_once(layout: Layout, trust: Trust, applicant: Applicant) -> SignedTrust:
    file = layout.enrolment / applicant.name / "signed.json"
    if not file.exists():
        signed = _sign(layout, trust, applicant)
        write_private(
            file, signed.model_dump_json()
        )  # last: after a crash the same document is offered again
    return SignedTrust.model_validate_json(file.read_bytes())


def _sign(layout: Layout, trust: Trust, applicant: Applicant) -> SignedTrust:
    directory = layout.enrolment / applicant.name
    signed = sign_as_officers(layout, propose(trust, applicant, issued_at=datetime.now(UTC)))
    write_private(directory / "proposal", b64u_decode(signed.payload))
    for signature in signed.signatures:
        write_private(directory / f"{signature.person}.sig", signature.sshsig)
    return signed


async def _run(layout: Layout, environments: Environments, softhsm_conf: Path, applicant: Applicant) -> None:
    directory, dependent = layout.enrolment / applicant.name, layout.dependent(applicant.name)
    signatures = [f"--officer-signature={file.stem}={file}" for file in sorted(directory.glob("*.sig"))]
    await enrolment(
        layout,
        environments,
        *("enrol", applicant.name, "--owner", applicant.owner),
        *(
            "--signing-key",
            str(dependent / "signing.pub"),
            "--transport-key",
            str(dependent / "transport.spki"),
        ),
        *("--proposal", str(directory / "proposal"), *signatures),
        softhsm_conf=softhsm_conf,
    )
