"""``python -m rekey_enrolment --settings FILE propose|enrol DEPENDENT …``: see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rekey_core.contracts import OfficerSignature
from rekey_core.errors import RefusedError, RekeyError, UsageRefusedError
from rekey_enrolment.bus import trust_bus
from rekey_enrolment.enrol import Enrolment
from rekey_enrolment.proposal import Applicant, propose
from rekey_enrolment.settings import load_settings


def main() -> int:
    """The command line: data on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args()
    try:
        asyncio.run(_run(options))
    except RekeyError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{hint}\n")
        return 4 if isinstance(error, RefusedError) else 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    settings = load_settings(options.settings)
    applicant = _applicant(options)
    async with trust_bus(settings) as bus:
        enrolment = Enrolment(settings, bus)
        if options.action == "propose" or options.plan:
            await _propose(enrolment, applicant, options.proposal if options.action == "propose" else None)
            return
        proposal = options.proposal.read_bytes() if options.proposal else None
        signatures = [_signature(text) for text in options.officer_signature]
        sys.stdout.write(json.dumps(asdict(await enrolment.enrol(applicant, proposal, signatures))) + "\n")


async def _propose(enrolment: Enrolment, applicant: Applicant, out: Path | None) -> None:
    trust, enrolled = await enrolment.plan(applicant)
    if enrolled:
        sys.stderr.write(f"{applicant.name} is enrolled; nothing would change\n")
        return
    if out is not None:
        await asyncio.to_thread(out.write_bytes, propose(trust, applicant, issued_at=datetime.now(UTC)))
    said = {
        "dependent": applicant.name,
        "owner": applicant.owner,
        "transport_key": applicant.entry.transport_key,
        "document": trust.n + 1,
        "officers_needed": trust.document.quorum,
    }
    sys.stdout.write(json.dumps(said) + "\n")


def _applicant(options: argparse.Namespace) -> Applicant:
    key = load_pem_public_key(options.signing_key.read_bytes())
    if not isinstance(key, ed25519.Ed25519PublicKey):
        message = f"{options.signing_key}: expected an Ed25519 public key"
        raise UsageRefusedError(message)
    spki = options.transport_key.read_bytes()
    return Applicant(options.dependent, options.owner, key.public_bytes_raw(), spki)


def _signature(text: str) -> OfficerSignature:
    person, _, file = text.partition("=")
    return OfficerSignature(person=person, sshsig=Path(file).read_text())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rekey_enrolment", description="make a dependent known")
    parser.add_argument("--settings", type=Path, required=True)
    actions = parser.add_subparsers(dest="action", required=True)
    propose_ = actions.add_parser("propose", help="write the next trust document for the officers to sign")
    enrol = actions.add_parser("enrol", help="trust the transport key, publish the signed document")
    for action in (propose_, enrol):
        action.add_argument("dependent")
        action.add_argument("--owner", required=True, help="the person who answers for the dependent")
        action.add_argument("--signing-key", type=Path, required=True, help="Ed25519 public key, PEM")
        action.add_argument("--transport-key", type=Path, required=True, help="RSA SubjectPublicKeyInfo, DER")
        action.add_argument("--plan", action="store_true", help="say what would change, change nothing")
    propose_.add_argument("--proposal", type=Path, required=True, help="where to write it")
    enrol.add_argument("--proposal", type=Path, help="the document that the officers signed")
    enrol.add_argument(
        "--officer-signature",
        action="append",
        default=[],
        metavar="PERSON=FILE",
        help="ssh-keygen -Y sign -n rekey-trust@v1 -f KEY PROPOSAL makes FILE (PROPOSAL.sig)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
