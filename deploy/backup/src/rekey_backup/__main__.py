"""``python -m rekey_backup export|verify|order|drill|check …``: see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rekey_backup import bundle as bundles
from rekey_backup.bus import backup_bus
from rekey_backup.catalogue import Catalogue, catalogue
from rekey_backup.drill import Offline, drilled
from rekey_backup.settings import BusSettings, TokenSettings, load
from rekey_backup.verify import verified
from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    DrillAttestation,
    DrillOrder,
    OfficerSignature,
    OfficersSigned,
)
from rekey_core.encoding import b64u_encode
from rekey_core.errors import RefusedError, RekeyError
from rekey_core.officers import check_order, open_by_quorum, payload_of
from rekey_core.secret import Secret
from rekey_core.trust import Trust
from rekey_hsm import TokenSettings as Login

_FAILED, _REFUSED = 1, 4
_ORDER_LIFETIME = timedelta(hours=1)


def main() -> int:
    """The command line: data on stdout, words on stderr; 0 done, 1 failed, 2 usage, 4 refused."""
    options = _parser().parse_args()
    try:
        return _ACTIONS[options.action](options)
    except RekeyError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{hint}\n")
        return _REFUSED if isinstance(error, RefusedError) else _FAILED


def _export(options: argparse.Namespace) -> int:
    settings = load(options.settings, BusSettings)

    async def read() -> bundles.Bundle:
        async with backup_bus(settings) as bus:
            return await bus.bundle()

    found = asyncio.run(read())
    bundles.write(options.bundle, found)
    return _say({"facts": len(found.facts), "backups": len(found.backups)}, ())


def _verify(options: argparse.Namespace) -> int:
    settings, _, listed = _offline(options)
    os.environ["SOFTHSM2_CONF"] = str(settings.token_directory / "softhsm2.conf")
    login = Login(settings.hsm_module, settings.token_label, settings.token_serial, _pin(settings.pin_file))
    problems = (*listed.problems, *asyncio.run(verified(login, listed.kept)))
    return _say(_counts(listed, "verified", problems), problems)


def _order(options: argparse.Namespace) -> int:
    settings, now = load(options.settings, TokenSettings), datetime.now(UTC)
    order = DrillOrder(
        env=settings.env,
        nonce=secrets.token_hex(16),
        reason=options.reason,
        issued_at=now,
        expires_at=now + _ORDER_LIFETIME,
    )
    options.order.write_bytes(payload_of(order))
    return _say({"order": str(options.order), "expires_at": order.expires_at.isoformat()}, ())


def _drill(options: argparse.Namespace) -> int:
    settings, trust, listed = _offline(options)
    order = _signed(options.order, options.officer_signature)
    check_order(open_by_quorum(order, DrillOrder, trust), datetime.now(UTC))
    offline = Offline(
        settings.hsm_module,
        settings.token_directory,
        settings.token_label,
        settings.token_serial,
        _pin(settings.pin_file),
        _pin(settings.so_pin_file),
    )
    problems = (*listed.problems, *asyncio.run(drilled(offline, settings.env, listed.kept, options.sandbox)))
    if not problems:
        options.attestation.write_bytes(payload_of(_attestation(settings.env, options.order, listed)))
    return _say(_counts(listed, "restored", problems), problems)


def _check(options: argparse.Namespace) -> int:
    settings, trust, _ = _offline(options)
    found = open_by_quorum(_signed(options.attestation, options.officer_signature), DrillAttestation, trust)
    is_valid = datetime.now(UTC) < found.expires_at
    words = () if is_valid else (f"the last drill of {settings.env} was at {found.at}: try a restore again",)
    return _say(found.model_dump(mode="json", exclude={"type"}) | {"valid": is_valid}, words)


_ACTIONS = {"export": _export, "verify": _verify, "order": _order, "drill": _drill, "check": _check}


def _offline(options: argparse.Namespace) -> tuple[TokenSettings, Trust, Catalogue]:
    settings, found = load(options.settings, TokenSettings), bundles.read(options.bundle)
    trust = found.verified_trust(settings.trust_genesis, settings.env)
    return settings, trust, catalogue(found, trust)


def _attestation(env: str, order: Path, listed: Catalogue) -> DrillAttestation:
    now = datetime.now(UTC)
    return DrillAttestation(
        env=env,
        order=hashlib.sha256(order.read_bytes()).hexdigest(),
        at=now,
        expires_at=now + ATTESTATION_LIFETIME,
        as_of=listed.as_of,
        restored=len(listed.kept),
        destroyed=listed.destroyed,
        without_backup=listed.without_backup,
    )


def _signed(file: Path, signatures: list[str]) -> OfficersSigned:
    pairs = [text.partition("=") for text in signatures]
    return OfficersSigned(
        payload=b64u_encode(file.read_bytes()),
        signatures=tuple(
            OfficerSignature(person=person, sshsig=Path(path).read_text()) for person, _, path in pairs
        ),
    )


def _pin(file: Path) -> Secret:
    return Secret(file.read_bytes().strip())


def _counts(listed: Catalogue, done: str, problems: tuple[str, ...]) -> dict[str, object]:
    return {
        done: len(listed.kept) + len(listed.problems) - len(problems),
        "destroyed": listed.destroyed,
        "without_backup": listed.without_backup,
        "as_of": listed.as_of,
        "problems": problems,
    }


def _say(data: dict[str, object], problems: tuple[str, ...]) -> int:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stderr.writelines(f"error: {line}\n" for line in problems)
    return _FAILED if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rekey_backup", description="prove backups and try a restore")
    actions = parser.add_subparsers(dest="action", required=True)
    words = {
        "export": "read facts and backups from the bus into a file; no token is needed",
        "verify": "open every backup in the offline token and hold it against the log; no bus is needed",
        "order": "write the order for a drill, for the officers to sign",
        "drill": "restore everything into fresh tokens in a sandbox; on success write what the officers attest",
        "check": "say until when the officers' attestation holds",
    }
    paths = {
        "export": ("bundle",),
        "verify": ("bundle",),
        "order": ("order",),
        "drill": ("bundle", "order", "sandbox", "attestation"),
        "check": ("bundle", "attestation"),
    }
    for name, help_ in words.items():
        action = actions.add_parser(name, help=help_)
        for option in ("settings", *paths[name]):
            action.add_argument(f"--{option}", type=Path, required=True)
        if name in {"drill", "check"}:
            action.add_argument(
                "--officer-signature",
                action="append",
                default=[],
                metavar="PERSON=FILE",
                help="ssh-keygen -Y sign -n rekey-drill@v1 -f KEY FILE makes FILE.sig",
            )
    actions.choices["order"].add_argument("--reason", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
