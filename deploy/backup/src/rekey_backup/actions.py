"""What the program does, by its first word. Each gives its exit code: 0 done, 1 something is wrong, 4 audit refuses."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from rekey_backup import bundle as bundles
from rekey_backup import restore as restores
from rekey_backup.attesting import Given, recorded
from rekey_backup.bus import backup_bus
from rekey_backup.catalogue import Catalogue, catalogue
from rekey_backup.drill import Drilled, Offline, drilled
from rekey_backup.lines import write_whole
from rekey_backup.opening import Document
from rekey_backup.restore import offers
from rekey_backup.returning import Returned, missing, returned
from rekey_backup.settings import BusSettings, TokenSettings, load
from rekey_backup.verify import verified
from rekey_backup.words import say
from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    MAX_FAILURE,
    MAX_FAILURES,
    BackupOrder,
    DrillAttestation,
    DrillOrder,
    OfficersDocument,
    OfficerSignature,
    OfficersSigned,
    RestoreOrder,
)
from rekey_core.drilled import attestation_id, attested
from rekey_core.encoding import b64u_encode
from rekey_core.ended import KEK_END, check_empty, ended
from rekey_core.errors import StateRefusedError, UsageRefusedError
from rekey_core.officers import check_order, open_by_quorum, payload_of
from rekey_core.restoring import order_id, ordered
from rekey_core.secret import Secret
from rekey_core.trust import Trust
from rekey_core.validation import what_is_wrong
from rekey_hsm import TokenSettings as Login

FAILED: Final = 1
REFUSED: Final = 4
ORDER_LIFETIME: Final = timedelta(hours=1)

_CHALLENGE: Final = re.compile("[0-9a-f]{32}")

Options = argparse.Namespace


def export(options: Options) -> int:
    """Facts and backups, as they are stored, into a file."""
    settings = load(options.settings, BusSettings)

    async def read() -> bundles.Bundle:
        async with backup_bus(settings) as bus:
            return await bus.bundle()

    found = asyncio.run(read())
    bundles.write(options.bundle, found)
    return _say(options, {"facts": len(found.facts), "backups": len(found.backups)}, ())


def log(options: Options) -> int:
    """Every fact, complete as of now, with the word that it was asked for with: what ends a KEK epoch."""
    if not _CHALLENGE.fullmatch(options.challenge):
        message = f"--challenge: expected 32 hex digits, found {options.challenge!r}"
        raise UsageRefusedError(message, hint="python -m rekey_ceremony retire prints it")
    settings = load(options.settings, BusSettings)

    async def read() -> bundles.Bundle:
        async with backup_bus(settings) as bus:
            return await bus.whole_log()

    found = asyncio.run(read())
    bundles.write_log(options.log, found, options.challenge)
    return _say(options, {"facts": len(found.facts), "challenge": options.challenge}, ())


def verify(options: Options) -> int:
    """Every backup opened in the offline token and held against the log."""
    settings, _, listed = _offline(options)
    problems = (*listed.problems, *asyncio.run(verified(_login(settings), listed.kept)))
    return _say(options, _counts(listed, "verified", problems), problems)


def order(options: Options) -> int:
    """The order for the officers to sign."""
    settings, now = load(options.settings, TokenSettings), datetime.now(UTC)
    said = {
        "env": settings.env,
        "nonce": secrets.token_hex(16),
        "reason": options.reason,
        "issued_at": now,
        "expires_at": now + ORDER_LIFETIME,
    }
    document = _order(said if options.epoch is None else said | {"epoch": options.epoch})
    write_whole(options.order, payload_of(document))
    expires, sign_with = document.expires_at.isoformat(), _sign_with(document, options.order)
    return _say(options, {"order": str(options.order), "expires_at": expires, "sign_with": sign_with}, ())


def drill(options: Options) -> int:
    """Everything restored into fresh tokens in a sandbox; then what the officers attest, well or not."""
    settings, trust, listed = _offline(options)
    signed = _signed(options.order, options.officer_signature)
    check_order(open_by_quorum(signed, DrillOrder, trust), datetime.now(UTC))
    offline = Offline(
        settings.hsm_module,
        settings.token_directory,
        settings.token_label,
        settings.token_serial,
        _pin(settings.pin_file),
        _pin(settings.so_pin_file),
    )
    documents = [Document(key, file.read_bytes()) for key, file in options.document]
    ended = asyncio.run(drilled(offline, settings.env, listed.kept, options.sandbox, documents))
    found = _attestation(settings.env, signed, listed, ended, len(documents))
    write_whole(options.attestation, payload_of(found))
    problems = (*listed.problems, *ended.failed, *ended.closed)
    said = {
        "checked": found.checked,
        "opened": found.opened,
        "expires_at": found.expires_at.isoformat(),
        "sign_with": _sign_with(found, options.attestation),
    }
    return _say(options, {"restored": found.restored} | _rest(listed, problems) | said, problems)


def attest(options: Options) -> int:
    """The attestation, as the officers signed it, given to audit, which records it; again is no change."""
    settings = load(options.settings, BusSettings)
    signed = _signed(options.attestation, options.officer_signature)

    async def look() -> Trust:
        async with backup_bus(settings) as bus:
            return await bus.trust(settings.trust_genesis)

    async def give() -> Given:
        async with backup_bus(settings) as bus:
            return await recorded(bus, settings, signed, options.about)

    if options.plan:
        trust, now = asyncio.run(look()), datetime.now(UTC)
        if options.about == KEK_END:
            return _say(options, ended(signed, now, trust).model_dump(mode="json", exclude={"type"}), ())
        found = attested(signed, now, trust)
        return _say(
            options, found.model_dump(mode="json", exclude={"type"}) | {"passed": found.is_passed}, ()
        )
    given = asyncio.run(give())
    said = {"attestation": attestation_id(signed), "recorded": not given.problem}
    code = _say(options, said, (given.problem,) if given.problem else ())
    return REFUSED if given.is_refused else code


def check(options: Options) -> int:
    """Until when the officers' attestation holds; of the end of a KEK epoch, that the log in the bundle agrees."""
    if options.about == KEK_END:
        return _check_end(options)
    settings, trust, _ = _offline(options)
    found = open_by_quorum(_signed(options.attestation, options.officer_signature), DrillAttestation, trust)
    is_valid = found.is_passed and datetime.now(UTC) < found.expires_at
    how = "was" if found.is_passed else "failed"
    words = (
        () if is_valid else (f"the last drill of {settings.env} {how} at {found.at}: try a restore again",)
    )
    return _say(options, found.model_dump(mode="json", exclude={"type"}) | {"valid": is_valid}, words)


def _check_end(options: Options) -> int:
    """The end of a KEK epoch, replayed offline: a quorum said it, and nothing in the log lies under the epoch."""
    settings, found = load(options.settings, TokenSettings), bundles.read(options.bundle)
    trust = found.verified_trust(settings.trust_genesis, settings.env)
    end = ended(_signed(options.attestation, options.officer_signature), datetime.now(UTC), trust)
    read_up_to = max((message.sequence for message in found.facts), default=0)
    if read_up_to < end.as_of:
        message = f"the bundle has the log up to {read_up_to}, the end of epoch {end.epoch} is about it up to {end.as_of}"
        raise StateRefusedError(message, hint="rekey backup export ...")
    check_empty(end, found.states(trust))
    return _say(options, end.model_dump(mode="json", exclude={"type"}) | {"valid": True}, ())


def restore(options: Options) -> int:
    """The offline half of a restore: what the generator is to store, into a file; ``--plan``: what that would be."""
    settings, trust, listed = _offline(options)
    if options.plan:
        return _say(options, _plan(listed), listed.problems)
    if options.order is None or options.restored is None:
        message = "expected --order and --restored, or --plan"
        raise UsageRefusedError(message, hint="rekey backup order --epoch N ...")
    signed = _signed(options.order, options.officer_signature)
    epoch = ordered(signed, datetime.now(UTC), trust).epoch
    wanted = [item for item in listed.kept if item.epoch < epoch]
    made, failed = asyncio.run(offers(_login(settings), wanted, epoch, signed))
    restores.write(options.restored, made)
    problems = (*listed.problems, *failed)
    said = {"wrapped": len(made), "epoch": epoch, "restored_before": len(listed.kept) - len(wanted)}
    return _say(options, said | _rest(listed, problems), problems)


def import_(options: Options) -> int:
    """The other half: each version given to the generator that the log does not say is restored; again is no change."""
    settings, made = load(options.settings, BusSettings), restores.read(options.restored)

    async def give() -> Returned:
        async with backup_bus(settings) as bus:
            return await returned(bus, settings, made)

    async def look() -> list[str]:
        async with backup_bus(settings) as bus:
            return await missing(bus, settings, made)

    if options.plan:
        names = asyncio.run(look())
        return _say(options, {"would_restore": names, "restored_before": len(made) - len(names)}, ())
    done = asyncio.run(give())
    return _say(options, {"restored": done.now, "restored_before": done.before}, done.problems)


ACTIONS: Final[Mapping[str, Callable[[Options], int]]] = {
    "export": export,
    "log": log,
    "verify": verify,
    "order": order,
    "drill": drill,
    "attest": attest,
    "check": check,
    "restore": restore,
    "import": import_,
}


def _offline(options: Options) -> tuple[TokenSettings, Trust, Catalogue]:
    settings, found = load(options.settings, TokenSettings), bundles.read(options.bundle)
    trust = found.verified_trust(settings.trust_genesis, settings.env)
    return settings, trust, catalogue(found, trust)


def _login(settings: TokenSettings) -> Login:
    os.environ["SOFTHSM2_CONF"] = str(settings.token_directory / "softhsm2.conf")
    return Login(settings.hsm_module, settings.token_label, settings.token_serial, _pin(settings.pin_file))


def _attestation(
    env: str, ordered_by: OfficersSigned, listed: Catalogue, ended: Drilled, documents: int
) -> DrillAttestation:
    now, problems = datetime.now(UTC), (*listed.problems, *ended.failed, *ended.closed)
    return DrillAttestation(
        env=env,
        order=order_id(ordered_by),  # of what was verified: the file may be another one by now
        at=now,
        expires_at=now + ATTESTATION_LIFETIME,
        as_of=listed.as_of,
        backup_epochs=tuple(sorted({item.backup_epoch for item in listed.kept})),
        checked=listed.backed_up,
        restored=len(listed.kept) - len(ended.failed),
        opened=documents - len(ended.closed),
        failures=tuple(line[:MAX_FAILURE] for line in problems[:MAX_FAILURES]),
        more_failures=len(problems[MAX_FAILURES:]),
        destroyed=listed.destroyed,
        without_backup=len(listed.unbacked),
    )


def _sign_with(document: OfficersDocument, file: Path) -> str:
    """What each officer types."""
    return f"ssh-keygen -Y sign -n {document.NAMESPACE} -f KEY {file}"


def _order(said: Mapping[str, object]) -> BackupOrder:
    kind = RestoreOrder if "epoch" in said else DrillOrder
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        message = f"the order's {what_is_wrong(error)}"
        raise UsageRefusedError(message) from None


def _signed(file: Path, signatures: Sequence[tuple[str, Path]]) -> OfficersSigned:
    return OfficersSigned(
        payload=b64u_encode(file.read_bytes()),
        signatures=tuple(_signature(person, path) for person, path in signatures),
    )


def _signature(person: str, file: Path) -> OfficerSignature:
    try:
        return OfficerSignature(person=person, sshsig=file.read_text())
    except ValueError:  # of UTF-8, or of the model
        message = f"{file}: expected the signature that ssh-keygen -Y sign makes, found something else"
        raise UsageRefusedError(message) from None


def _pin(file: Path) -> Secret:
    return Secret(file.read_bytes().strip())


def _plan(listed: Catalogue) -> dict[str, object]:
    """What a restore would bring back, and what it cannot."""
    newest = max((item.epoch for item in listed.kept), default=0)
    return {
        "would_restore": [item.name for item in listed.kept],
        "cannot_restore": listed.unbacked,
        "epoch_after": newest,
        **_rest(listed, listed.problems),
    }


def _counts(listed: Catalogue, done: str, problems: Sequence[str]) -> dict[str, object]:
    return {done: len(listed.kept) + len(listed.problems) - len(problems)} | _rest(listed, problems)


def _rest(listed: Catalogue, problems: Sequence[str]) -> dict[str, object]:
    return {
        "destroyed": listed.destroyed,
        "without_backup": len(listed.unbacked),
        "as_of": listed.as_of,
        "problems": problems,
    }


def _say(options: Options, data: Mapping[str, object], problems: Sequence[str]) -> int:
    say(data, problems, options.output)
    return FAILED if problems else 0
