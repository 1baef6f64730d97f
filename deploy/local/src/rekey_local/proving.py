"""Backups on screen: two officers order a drill, it restores everything into fresh tokens, two attest what they saw.

Not the same two: any two of the three do. The drill is the program that people start, in a process of its own, since a
process has one PKCS#11 configuration. What else it takes is done with the program's own parts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rekey_backup import bundle as bundles
from rekey_backup.attesting import recorded
from rekey_backup.bus import backup_bus
from rekey_backup.settings import BusSettings, load
from rekey_core.contracts import BackupAnswer, DrillAttestation, DrillOrder, OfficerSignature, OfficersSigned
from rekey_core.encoding import b64u_encode
from rekey_core.officers import payload_of
from rekey_core.sshsig import sign
from rekey_local.cast import AUDITOR, ENVELOPE, Cast
from rekey_local.child import die_with_us, environment
from rekey_local.environments import STACK
from rekey_local.errors import StoryError
from rekey_local.layout import Layout, private_directory, write_private
from rekey_local.plan import OFFICERS
from rekey_local.settings import OFFLINE_FILE, SETTINGS_FILE

_ORDERED_BY: Final = OFFICERS[:2]
_ATTESTED_BY: Final = OFFICERS[1:]
_ORDER_LIFETIME: Final = timedelta(minutes=10)
_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.1


async def prove_backups(cast: Cast, old: bytes) -> None:
    """Try a restore, and have audit record how it ended. ``old``: a document of before the rotation.

    Raises:
        StoryError: a version did not come back, the document does not open, or audit does not say so.
        RekeyError: the bus or audit did not answer.
    """
    layout = cast.stack.layout
    desk = private_directory(layout.backup / "drill")
    settings = load(layout.backup / SETTINGS_FILE, BusSettings)
    async with backup_bus(settings) as bus:
        bundles.write(desk / "bundle", await bus.bundle())
        write_private(desk / "document", old)
        said = await _drilled(cast, desk)
        attestation = (desk / "attestation").read_bytes()
        found = DrillAttestation.model_validate_json(attestation)
        given = await recorded(bus, settings, _signed(layout, attestation, _ATTESTED_BY))
    if given.problem or not found.is_passed:
        message = f"the drill was not recorded as passed: {given.problem or said}"
        raise StoryError(message)
    async with cast.people.reading(AUDITOR) as reader:
        _tell(cast, found, await reader.session.ask(BackupAnswer))


def _tell(cast: Cast, found: DrillAttestation, answer: BackupAnswer) -> None:
    if answer.status != "proved" or answer.drill is None:
        message = f"audit says of the backups: {answer.status}"
        raise StoryError(message)
    cast.screen.title(
        f"backups are proved: {' and '.join(_ORDERED_BY)} ordered a drill, {' and '.join(_ATTESTED_BY)} attest it"
    )
    cast.screen.say(
        f"  {found.restored} of {found.checked} versions came into fresh tokens as the ones that the log commits to, "
        "and the data key of a document of before the rotation opens there"
    )
    without = f"{found.without_backup} versions have no backup, as their class says"
    cast.screen.say(f"  {without}; recorded by audit, expires on {answer.drill.expires_at:%Y-%m-%d}")


async def sealed_before(exchange: Path, limit_s: float = _LIMIT_S) -> bytes:
    """A document that an instance has sealed by now, for the time when its key has rotated.

    Raises:
        StoryError: there is none within the limit.
    """
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = _sealed(exchange)
        if found is not None:
            return found
        await asyncio.sleep(_POLL_S)
    message = f"no instance has sealed a document under {ENVELOPE.name}"
    raise StoryError(message)


def _sealed(exchange: Path) -> bytes | None:
    left = (json.loads(file.read_bytes())["sealed"] for file in sorted(exchange.glob("*.json")))
    return next((base64.b64decode(text) for texts in left for text in texts), None)


async def _drilled(cast: Cast, desk: Path) -> str:
    """Run the program; what it said."""
    layout, now = cast.stack.layout, datetime.now(UTC)
    body = {"env": cast.stack.plan.env, "nonce": secrets.token_hex(16), "reason": "the story tries a restore"}
    order = payload_of(
        DrillOrder.model_validate(body | {"issued_at": now, "expires_at": now + _ORDER_LIFETIME})
    )
    write_private(desk / "order", order)
    words = [f"--{name}={desk / name}" for name in ("bundle", "order", "sandbox", "attestation")]
    words.append(f"--document={ENVELOPE.name}={desk / 'document'}")
    for officer in _ORDERED_BY:
        write_private(desk / f"order.{officer}.sig", _signature(layout, officer, order))
        words.append(f"--officer-signature={officer}={desk / f'order.{officer}.sig'}")
    _forget(desk)
    process = await asyncio.create_subprocess_exec(
        cast.people.environments.python(STACK),
        *("-m", "rekey_backup", "drill", "--settings", str(layout.backup / OFFLINE_FILE), *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment({}),
        start_new_session=True,
        preexec_fn=die_with_us(),
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    finally:
        _forget(desk)
    if not (desk / "attestation").exists():
        message = f"the drill ended with {process.returncode}: {' '.join(said.decode().split())}"
        raise StoryError(message)
    return " ".join(said.decode().split())


def _forget(desk: Path) -> None:
    """The sandbox holds a copy of the offline token."""
    shutil.rmtree(desk / "sandbox", ignore_errors=True)


def _signed(layout: Layout, payload: bytes, officers: Iterable[str]) -> OfficersSigned:
    signatures = tuple(
        OfficerSignature(person=officer, sshsig=_signature(layout, officer, payload)) for officer in officers
    )
    return OfficersSigned(payload=b64u_encode(payload), signatures=signatures)


def _signature(layout: Layout, officer: str, payload: bytes) -> str:
    """For development only: the officers' keys lie in one place."""
    return sign((layout.person(officer) / "id_ed25519").read_bytes(), payload, DrillOrder.NAMESPACE)
