"""``python -m rekey_enrolment --settings FILE propose|enrol|propose-keys|change-keys …``: see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rekey_core.contracts import OfficerSignature
from rekey_core.encoding import what_and_next
from rekey_core.errors import RefusedError, RekeyError, UsageRefusedError
from rekey_core.names import Service
from rekey_core.signing import key_id
from rekey_enrolment.bus import trust_bus
from rekey_enrolment.enrol import Enrolment
from rekey_enrolment.proposal import Applicant, propose
from rekey_enrolment.service_keys import KeyChange, propose_keys
from rekey_enrolment.settings import load_settings


def main() -> int:
    """The command line: data on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args()
    try:
        asyncio.run(_run(options))
    except RekeyError as error:
        sys.stderr.write(what_and_next(f"error: {error}", error.hint))
        return 4 if isinstance(error, RefusedError) else 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    settings = load_settings(options.settings)
    subject = _change(options) if options.action.endswith("-keys") else _applicant(options)
    proposes = options.action.startswith("propose")
    async with trust_bus(settings) as bus:
        enrolment = Enrolment(settings, bus)
        if proposes or options.plan:
            out = options.proposal if proposes and not options.plan else None
            if isinstance(subject, KeyChange):
                await _propose_keys(enrolment, subject, out)
            else:
                await _propose(enrolment, subject, out)
            return
        proposal = options.proposal.read_bytes() if options.proposal else None
        signatures = [_signature(text) for text in options.officer_signature]
        if isinstance(subject, KeyChange):
            said = asdict(await enrolment.change_keys(subject, proposal, signatures))
        else:
            said = asdict(await enrolment.enrol(subject, proposal, signatures))
        sys.stdout.write(json.dumps(said) + "\n")


async def _propose_keys(enrolment: Enrolment, change: KeyChange, out: Path | None) -> None:
    trust, done = await enrolment.plan_keys(change)
    if done:
        sys.stderr.write("the trust document says so already; nothing would change\n")
        return
    proposal = propose_keys(trust, change, issued_at=datetime.now(UTC))
    if out is not None:
        await asyncio.to_thread(out.write_bytes, proposal)
    said = {
        "add": {service: key_id(key) for service, key in change.comes.items()},
        "remove": {service: key_id(key) for service, key in change.goes.items()},
        "document": trust.n + 1,
        "officers_needed": trust.document.quorum,
    }
    sys.stdout.write(json.dumps(said) + "\n")


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
    spki = options.transport_key.read_bytes()
    return Applicant(options.dependent, options.owner, _public_key(options.signing_key), spki)


def _change(options: argparse.Namespace) -> KeyChange:
    if not options.add and not options.remove:
        message = "expected --add or --remove, found neither"
        raise UsageRefusedError(message)
    return KeyChange(_keys(options.add), _keys(options.remove))


def _keys(texts: Sequence[str]) -> dict[Service, bytes]:
    found: dict[Service, bytes] = {}
    for text in texts:
        name, _, file = text.partition("=")
        if name not in set(Service) or Service(name) in found:
            message = f"expected each service once, as SERVICE=FILE, found {text}"
            raise UsageRefusedError(message)
        found[Service(name)] = _public_key(Path(file))
    return found


def _public_key(file: Path) -> bytes:
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{file}: expected an Ed25519 public key, PEM"
        raise UsageRefusedError(message) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        message = f"{file}: expected an Ed25519 public key"
        raise UsageRefusedError(message)
    return key.public_bytes_raw()


def _signature(text: str) -> OfficerSignature:
    person, _, file = text.partition("=")
    return OfficerSignature(person=person, sshsig=Path(file).read_text())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rekey_enrolment", description="make dependents and services' new keys known"
    )
    parser.add_argument("--settings", type=Path, required=True)
    actions = parser.add_subparsers(dest="action", required=True)
    propose_ = actions.add_parser("propose", help="write the next trust document for the officers to sign")
    enrol = actions.add_parser("enrol", help="trust the transport key, publish the signed document")
    for action in (propose_, enrol):
        action.add_argument("dependent")
        action.add_argument("--owner", required=True, help="the person who answers for the dependent")
        action.add_argument("--signing-key", type=Path, required=True, help="Ed25519 public key, PEM")
        action.add_argument("--transport-key", type=Path, required=True, help="RSA SubjectPublicKeyInfo, DER")
    propose_keys_ = actions.add_parser("propose-keys", help="the same, for signing keys of services")
    change_keys = actions.add_parser("change-keys", help="publish the signed document of propose-keys")
    for action in (propose_keys_, change_keys):
        for option, what in (("--add", "comes"), ("--remove", "goes")):
            action.add_argument(
                option, action="append", default=[], metavar="SERVICE=FILE", help=f"a key that {what}, PEM"
            )
    for action in (propose_, propose_keys_):
        action.add_argument("--proposal", type=Path, required=True, help="where to write it")
    for action in (enrol, change_keys):
        action.add_argument("--proposal", type=Path, help="the document that the officers signed")
        action.add_argument(
            "--officer-signature",
            action="append",
            default=[],
            metavar="PERSON=FILE",
            help="ssh-keygen -Y sign -n rekey-trust@v1 -f KEY PROPOSAL makes FILE (PROPOSAL.sig)",
        )
    for action in (propose_, enrol, propose_keys_, change_keys):
        action.add_argument("--plan", action="store_true", help="say what would change, change nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
